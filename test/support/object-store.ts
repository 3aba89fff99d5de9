/** The part of S3 that tests need, which accepts only requests with a valid signature. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { findSignatureFault, type SigningAccount } from "./signature-verifier.ts";
import { bodyOf, startUpstream } from "./upstream.ts";

export interface ObjectStore {
  readonly url: string;
  /** Bodies by raw path. */
  readonly objects: Map<string, Buffer>;
  readonly requests: IncomingMessage[];
  /** What was wrong with refused requests. */
  readonly faults: string[];
}

export const ACCOUNT: SigningAccount = {
  accessKeyId: "AKIDEXAMPLE",
  secretAccessKey: "the/secret+access=key",
  sessionToken: "the-session-token//of+temporary=credentials",
  region: "eu-central-1",
  service: "s3",
};

/** As `env` and `auth` of a gateway. */
export const ACCOUNT_ENV = {
  STORE_KEY_ID: ACCOUNT.accessKeyId,
  STORE_SECRET: ACCOUNT.secretAccessKey,
  STORE_TOKEN: ACCOUNT.sessionToken as string,
};

export const STORE_AUTH = {
  type: "aws-sigv4",
  region: ACCOUNT.region,
  service: ACCOUNT.service,
  accessKeyIdEnvVar: "STORE_KEY_ID",
  secretAccessKeyEnvVar: "STORE_SECRET",
  sessionTokenEnvVar: "STORE_TOKEN",
} as const;

export async function startObjectStore(account: SigningAccount = ACCOUNT): Promise<ObjectStore> {
  const objects = new Map<string, Buffer>();
  const faults: string[] = [];
  const upstream = await startUpstream(async (req, res) => {
    if (req.headers.expect !== undefined) res.writeContinue();
    const body = await bodyOf(req).catch(() => undefined);
    // The gateway has canceled the request.
    if (body === undefined) return;
    const { method = "", url = "", rawHeaders } = req;
    const fault = findSignatureFault({ method, url, rawHeaders, body }, account, Date.now());
    if (fault !== undefined) {
      faults.push(`${method} ${url}: ${fault}`);
      res.writeHead(403, { "content-type": "application/xml" });
      res.end("<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>");
      return;
    }
    const isChunked = req.headers["content-encoding"] === "aws-chunked";
    respond(objects, req, res, isChunked ? unchunked(body) : body);
  });
  return { url: upstream.url, objects, requests: upstream.requests, faults };
}

function respond(objects: Map<string, Buffer>, req: IncomingMessage, res: ServerResponse, body: Buffer): void {
  const [path = "", search = ""] = (req.url ?? "").split("?");
  const query = new URLSearchParams(search);
  const part = query.get("partNumber");
  const xml = (text: string) => res.setHeader("content-type", "application/xml").end(text);
  if (req.method === "PUT") {
    const source = req.headers["x-amz-copy-source"];
    const stored = source === undefined ? body : (objects.get(`/${source}`) ?? Buffer.alloc(0));
    objects.set(part === null ? path : `${path}#${part}`, stored);
    if (source !== undefined) xml('<CopyObjectResult><ETag>"1"</ETag></CopyObjectResult>');
    else res.setHeader("etag", '"1"').end();
  } else if (req.method === "POST" && query.has("uploads")) {
    xml("<InitiateMultipartUploadResult><UploadId>u/1+2=</UploadId></InitiateMultipartUploadResult>");
  } else if (req.method === "POST") {
    const parts = [...objects.keys()].filter((key) => key.startsWith(`${path}#`)).sort();
    objects.set(path, Buffer.concat(parts.map((key) => objects.get(key) as Buffer)));
    for (const key of parts) objects.delete(key);
    xml('<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>');
  } else if (req.method === "DELETE") {
    res.writeHead(objects.delete(path) ? 204 : 404).end();
  } else if (query.has("list-type")) {
    const keys = [...objects.keys()].filter((key) => key.startsWith(`${path}${query.get("prefix") ?? ""}`));
    const contents = keys.map((key) => `<Contents><Key>${key.slice(path.length)}</Key></Contents>`);
    xml(`<ListBucketResult>${contents.join("")}</ListBucketResult>`);
  } else {
    const found = objects.get(path);
    if (found === undefined) return void res.writeHead(404).end();
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(req.headers.range ?? "") ?? [];
    const sent = from === undefined ? found : found.subarray(Number(from), Number(to) + 1);
    res.writeHead(from === undefined ? 200 : 206, { "content-length": sent.length });
    res.end(req.method === "HEAD" ? undefined : sent);
  }
}

/** Without chunks and trailers. */
function unchunked(body: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = body.indexOf("\r\n", at);
    const length = Number.parseInt(body.subarray(at, lineEnd).toString("latin1"), 16);
    if (!(length > 0)) return Buffer.concat(parts);
    parts.push(body.subarray(lineEnd + 2, lineEnd + 2 + length));
    at = lineEnd + 2 + length + 2;
  }
}
