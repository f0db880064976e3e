// A client as somebody writes it who has only the OpenAPI document: types by openapi-typescript, calls by openapi-fetch. Submits a picture as
// the body and as a form, waits, downloads, and meets a refusal. Usage: node client.js URL KEY PICTURE
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Job = components["schemas"]["JobView"];

const [url, key, picture] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl: url, headers: { authorization: `Bearer ${key}` } });
const bytes = readFileSync(picture);

function demand(truth: unknown, words: string): asserts truth {
  if (!truth) throw new Error(words);
}

async function ended(id: string): Promise<Job> {
  const { data, error } = await client.GET("/v1/jobs/{id}", { params: { path: { id }, query: { wait: 30 } } });
  demand(data, JSON.stringify(error));
  return data;
}

async function downloaded(job: Job, name: string): Promise<number> {
  const output = job.outputs.find((output) => output.name === name);
  demand(output, `${job.status}: ${job.error?.code}`);
  const { data, error } = await client.GET("/v1/jobs/{id}/outputs/{name}", { params: { path: { id: job.id, name } }, parseAs: "arrayBuffer" });
  demand(data, JSON.stringify(error));
  const result = Buffer.from(data as unknown as ArrayBuffer);
  demand(createHash("sha256").update(result).digest("hex") === output.sha256, "the digest is another");
  return result.length;
}

const raw = await client.POST("/v1/jobs", {
  params: { query: { width: 200, format: "webp" } },
  headers: { "content-type": "image/jpeg" },
  body: bytes as unknown as string,
  bodySerializer: (body) => body as unknown as Uint8Array,
});
demand(raw.response.status === 202 && raw.data && "id" in raw.data, JSON.stringify(raw.error));
const first = await downloaded(await ended(raw.data.id), "output");

const form = new FormData();
form.append("job", JSON.stringify({ outputs: [{ name: "small", operations: [{ op: "resize", width: 64 }], format: "png" }] }));
form.append("file", new Blob([bytes]), "leaf.jpg");
const sent = await client.POST("/v1/jobs", { body: {} as never, bodySerializer: () => form });
demand(sent.data && "id" in sent.data, JSON.stringify(sent.error));
const second = await downloaded(await ended(sent.data.id), "small");

const { data: list } = await client.GET("/v1/jobs", { params: { query: { limit: 2, status: "succeeded" } } });
demand(list?.jobs.length === 2, "the list has both");

const refused = await client.POST("/v1/jobs", { params: { query: { dry_run: true, quality: 500 as never } }, headers: { "content-type": "image/jpeg" }, body: bytes as unknown as string, bodySerializer: (body) => body as unknown as Uint8Array });
demand(refused.error?.code === "invalid_spec" && refused.error.errors?.[0]?.pointer === "/quality", JSON.stringify(refused));
console.log(`the generated client: ${first} and ${second} bytes downloaded, a mistake refused as ${refused.error.code}`);
