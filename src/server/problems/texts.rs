//! What every code means, what to do about it, and what its `detail` looks like: one row a code, requests first, then jobs.
//!
//! Owns the words only; `problems` makes pages of them. A test asks for a row for every code.

/// The words about one code. Backquotes set words apart as code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    /// The code.
    pub(super) code: &'static str,
    /// What has happened.
    pub(super) cause: &'static str,
    /// What the caller, or whoever runs the server, can do.
    pub(super) remedy: &'static str,
    /// A `detail` as it may come.
    pub(super) detail: &'static str,
}

const fn row(code: &'static str, cause: &'static str, remedy: &'static str, detail: &'static str) -> Text {
    Text { code, cause, remedy, detail }
}

/// Every code once.
pub(super) const TEXTS: &[Text] = &[
    row(
        "invalid_json",
        "The job specification is not JSON, or nested too deeply.",
        "`detail` names line and column. In a shell, put the JSON in single quotes; send files with `-F job=<spec.json`.",
        "The JSON can't be read: expected `,` or `}` at line 1 column 24.",
    ),
    row(
        "invalid_request",
        "The request itself is wrong: a parameter, a header, the form's parts, or an empty body.",
        "`detail` says which. With curl, send an image with `--data-binary @photo.jpg`; `-d @photo.jpg` breaks binary files.",
        "The parameter `wait` must be a whole number from 0 to 60.",
    ),
    row(
        "digest_mismatch",
        "The body that arrived is not the one whose `Content-Digest` was announced: it was changed on its way.",
        "Send it again. If it happens every time, the digest is taken of something else than the bytes that are sent.",
        "The body's SHA-256 is not the one in Content-Digest.",
    ),
    row(
        "forbidden",
        "Without keys this server answers for loopback and its `public_url` only, and takes no writes from pages of other sites.",
        "If you reach it under another name, start it with `--public-url https://that.name`. A page of another site should send its \
         requests through a backend of its own.",
        "This server does not answer for the host \"images.example.com\".",
    ),
    row(
        "not_found",
        "There is nothing at this address, or no job with this id.",
        "Check the address against `/docs`. A job's id is in the answer to its submit, under `id`.",
        "There is no job with this id.",
    ),
    row(
        "method_not_allowed",
        "The address exists, but not for this method.",
        "The answer's `Allow` header lists the methods that work.",
        "Here one can use POST, GET, HEAD, OPTIONS.",
    ),
    row(
        "request_timeout",
        "No byte of the body arrived for a while (setting `timeouts.body_idle`).",
        "Send it again, without long pauses. Nothing of it was kept.",
        "No byte of the body came for 30 s.",
    ),
    row(
        "not_ready",
        "The job has not ended yet, so there is no result to download.",
        "Ask again after `Retry-After` seconds, add `?wait=30`, or listen to the job's events.",
        "The job is running; its outputs come with its end.",
    ),
    row(
        "job_not_succeeded",
        "The job failed or was cancelled, so it has no outputs.",
        "Read `error` in the job. If it says `retryable`, `POST /v1/jobs/{id}/retry` may help.",
        "The job failed: corrupt_image.",
    ),
    row(
        "not_retryable_state",
        "Only a failed or cancelled job whose source is stored can be retried.",
        "Wait for the job's end, or submit the image again.",
        "The job has succeeded; only failed and cancelled jobs can be retried.",
    ),
    row(
        "idempotency_in_progress",
        "Another request with the same `Idempotency-Key` is being answered.",
        "Wait for its answer, then send this one again: it will be answered with the same job.",
        "A request with this Idempotency-Key is under way.",
    ),
    row(
        "gone",
        "The job was here; it was deleted, or its time was over (settings `retention.*`, or the job's `expires_in`).",
        "Submit the image again. Ask for a longer `expires_in`, or collect results sooner.",
        "The job was deleted or has expired.",
    ),
    row(
        "length_required",
        "The request has a body whose length is not told.",
        "Send `Content-Length`, or the body in chunks (`Transfer-Encoding: chunked`).",
        "The body's length is missing.",
    ),
    row(
        "precondition_failed",
        "What `If-Match` names is not what there is now: somebody or something was faster.",
        "Read it again, then decide again.",
        "It is \"v7\" now.",
    ),
    row(
        "body_too_large",
        "The body is larger than this server reads (setting `limits.body`), or the specification larger than 256 KiB.",
        "Send a smaller file, or raise `limits.body`. `/v1/capabilities` tells the limit under `limits.body_bytes_max`.",
        "The body is larger than 67108864 bytes.",
    ),
    row(
        "unsupported_format",
        "The bytes are no image of a format that is read here, or they are compressed by a `Content-Encoding`.",
        "`/v1/capabilities` lists the formats under `inputs`. Convert the file first; cameras and phones can be set to JPEG instead of HEIC.",
        "The bytes are HEIC, which is not read here; convert the image to JPEG, PNG, WebP or AVIF first.",
    ),
    row(
        "range_not_satisfiable",
        "The range begins behind the end of the file.",
        "`Content-Range` in the answer tells the length; ask for a range inside.",
        "The file has 9120 bytes.",
    ),
    row(
        "invalid_spec",
        "The job specification has mistakes, or an operation does not fit this image.",
        "`errors` names each mistake with a JSON Pointer, what is wrong and what would be right. Try it with `?dry_run=true` first: that stores nothing.",
        "The job specification has 1 mistake.",
    ),
    row(
        "image_too_large",
        "The image has more pixels, frames or bytes of memory than one job may use.",
        "`/v1/capabilities` tells the limits. Send a smaller image, ask for smaller outputs, or raise `limits.pixels`, `limits.frames` or `memory_limit`.",
        "The image has 144000000 pixels; at most 100000000 are taken.",
    ),
    row(
        "corrupt_image",
        "The image is damaged: its header, or the data behind it.",
        "The same bytes will fail again. Get the file anew; half an upload is the usual cause.",
        "the JPEG ends before its image is complete",
    ),
    row(
        "source_forbidden",
        "The source's address is not one that this server may fetch: only public addresses, unless a setting names more.",
        "If it is yours to decide, start the server with `--allow-private-network 10.0.0.0/8` (setting `egress.allow`); or send the bytes themselves.",
        "The address 10.0.0.7 is not public.",
    ),
    row(
        "webhook_forbidden",
        "The webhook's address is not one that this server may call: only public addresses, unless a setting names more.",
        "If it is yours to decide, start the server with `--allow-private-network 127.0.0.0/8` (setting `egress.allow`).",
        "The address 127.0.0.1 is not public.",
    ),
    row(
        "idempotency_mismatch",
        "The `Idempotency-Key` was used for another specification or image in the last 24 hours.",
        "Use a new key for a new job, and the same key only to repeat the very same request.",
        "This Idempotency-Key came with another specification or image before; use a new one.",
    ),
    row(
        "queue_full",
        "As many jobs are waiting as this server holds (setting `limits.queue`).",
        "Try again after `Retry-After` seconds. If it happens often, give the server more cores or raise the limit.",
        "100000 jobs are waiting.",
    ),
    row(
        "headers_too_large",
        "The request has too many headers, or they are too long.",
        "Send fewer or shorter ones; cookies of other applications on the same host are the usual cause.",
        "The headers are larger than is read here.",
    ),
    row(
        "internal",
        "Something went wrong in the server.",
        "Its log has the cause under the answer's `request_id`. The request may be sent again.",
        "The request could not be answered; the log names the cause.",
    ),
    row(
        "shutting_down",
        "The server is about to stop, and takes no more jobs.",
        "Try again in a few seconds. Jobs that were acknowledged go on when it is back.",
        "The server is about to stop; submit to its successor.",
    ),
    row(
        "store_unavailable",
        "Jobs or images can't be stored or read at the moment.",
        "Nothing was accepted; try again later. Whoever runs the server finds the cause in its log, and `minilab doctor` checks the data directory.",
        "The job store does not answer.",
    ),
    row(
        "storage_full",
        "There is no room left where jobs and images are stored.",
        "Nothing was accepted. Delete jobs, shorten `retention.*`, or make room on the disk; the server goes on by itself.",
        "Less than the reserve is left on the file system.",
    ),
    row(
        "source_not_found",
        "The source's server answered that there is nothing at its URL, or its name does not exist.",
        "Check `source.url` in a browser without your cookies. A retry fetches it again.",
        "the source answered with status 404",
    ),
    row(
        "source_timeout",
        "The source did not arrive in time (setting `source.total`). The job was tried again as often as it may be.",
        "Retry when the source's server is faster, or send the bytes themselves.",
        "the source did not arrive within 60 s",
    ),
    row(
        "source_http_error",
        "The source's server answered with an error, or the connection to it failed.",
        "If it wants credentials, give them in `source.headers`. A retry fetches it again.",
        "the source answered with status 503",
    ),
    row(
        "encode_failed",
        "An output could not be encoded; `output` names it.",
        "Choose another format, or a smaller size: some formats have limits of their own, as WebP with 16383 pixels a side.",
        "webp can't be larger than 16383 pixels a side",
    ),
    row(
        "max_bytes_unreachable",
        "An output does not fit into its `max_bytes`, not even at the lowest quality allowed (`min_quality`); `output` names it.",
        "Ask for fewer pixels, a lower `min_quality`, more bytes, or, for a lossless format, for a lossy one.",
        "the smallest file has 48211 bytes at quality 10; at most 40000 are allowed",
    ),
    row(
        "timeout",
        "An attempt took longer than the job's `timeout`.",
        "Ask for more time (`\"timeout\": \"5m\"`), a lower `effort`, or less work in one job.",
        "the attempt took longer than 60s",
    ),
    row(
        "panic",
        "The image code failed on this image in a way it should not. The server caught it; nothing else was harmed.",
        "Please report the image. Another encoding of it, say PNG, may pass.",
        "the image code panicked",
    ),
    row(
        "crashed",
        "The process died while this job was running alone, too often to try again.",
        "Look into the log for what ended the process. If it was not this image, retry the job.",
        "the process died 3 times while this job ran alone",
    ),
    row(
        "storage_error",
        "Stored bytes could not be read or written.",
        "Look into the server's log and at its disk; `minilab doctor` checks what is stored. Then retry the job.",
        "the source could not be read",
    ),
    row(
        "destination_error",
        "An output could not be delivered to its destination; `output` names it. What was delivered before it stays.",
        "Look into the server's log for what the destination answered, and at its table in the settings. Then retry the job.",
        "the destination \"media\" has not got the output: it does not let this server write there",
    ),
];
