"""Deliveries to Azure Blob Storage as another program understands it: Azurite, which checks every signature, and which Microsoft's own
library looks into.

Usage: az.py MINILAB AZURITE. Needs `npm install azurite` (the program `azurite-blob`) and `pip install azure-storage-blob`. Starts
Azurite and minilab itself, on ports of their own, and ends them.
"""

import base64
import os
import re
import subprocess
import sys
import tempfile

from azure.storage.blob import BlobServiceClient

from program import Front, Minilab, busy, exam

ACCOUNT = "account"
KEY, OTHER = (base64.b64encode(bytes([fill]) * 64).decode() for fill in (1, 2))


def main():
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.argv[2], "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", "0", "--disableTelemetry", "--silent"]
        # Libraries know versions of the protocol before Azurite does.
        command.append("--skipApiVersionCheck")
        environment = dict(os.environ, AZURITE_ACCOUNTS=f"{ACCOUNT}:{KEY}")
        azurite = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=directory, text=True)
        try:
            for line in azurite.stdout:
                found = re.search(r"successfully listens? (?:at|on) (http://\S+)", line)
                if found:
                    break
            run(directory, found.group(1))
        finally:
            azurite.kill()
            azurite.wait()


def run(directory, endpoint):
    service = BlobServiceClient(f"{endpoint}/{ACCOUNT}", credential=KEY)
    container = service.create_container("bucket")
    hesitating = Front(endpoint, busy(2))

    def look(key):
        stored = container.get_blob_client(f"some/prefix/{key}").download_blob()
        settings = stored.properties.content_settings
        return stored.readall(), settings.content_type, settings.content_disposition

    def destination(container, key=KEY, at=endpoint):
        return {"url": f"az://{container}", "endpoint": f"{at}/{ACCOUNT}", "account_name": ACCOUNT, "account_key": key}

    destinations = {
        "media": destination("bucket/some/prefix"),
        "absent": destination("absent"),
        "denied": destination("bucket", OTHER),
        "busy": destination("bucket", at=hesitating.url),
    }
    minilab = Minilab(sys.argv[1], directory, destinations)
    try:
        exam(minilab, look, "az://bucket/some/prefix", 30)
        minilab.stop()
    finally:
        if minilab.process.poll() is None:
            minilab.kill()
    assert len(hesitating.asked) == 4, hesitating.asked
    assert KEY.encode() not in minilab.log() and b"SharedKey" not in minilab.log(), "a secret in the log"


if __name__ == "__main__":
    main()
