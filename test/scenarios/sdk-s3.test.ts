/**
 * The AWS SDK's S3 client, with only its endpoint changed, and `pathPolicy: raw`.
 * Its signature is forwarded unchanged. It covers the gateway's host and path, so a substitute accepts it but S3 would not:
 * aws-sigv4.test.ts has a gateway that signs.
 */
import { createHash, randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  NotFound,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { describe, expect, onTestFinished, test } from "vitest";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

/** The part of S3 that these tests need: objects by raw path. */
async function startStore() {
  const objects = new Map<string, Buffer>();
  const bodies: Buffer[] = [];
  const upstream = await startUpstream(async (req, res) => {
    const [path = "", query = ""] = (req.url as string).split("?");
    if (req.headers.expect !== undefined) res.writeContinue();
    if (req.method === "PUT") {
      const body = await bodyOf(req);
      bodies.push(body);
      objects.set(path, req.headers["content-encoding"] === "aws-chunked" ? unchunk(body) : body);
      res.setHeader("etag", '"1"').end();
    } else if (req.method === "DELETE") {
      objects.delete(path);
      res.writeHead(204).end();
    } else if (query.includes("list-type=2")) {
      const keys = [...objects.keys()];
      const at = Number(new URLSearchParams(query).get("continuation-token") ?? 0);
      const next =
        at + 1 < keys.length
          ? `<IsTruncated>true</IsTruncated><NextContinuationToken>${at + 1}</NextContinuationToken>`
          : "";
      res.setHeader("content-type", "application/xml");
      res.end(
        `<?xml version="1.0"?><ListBucketResult>${next}<Contents><Key>${keys[at]}</Key></Contents></ListBucketResult>`,
      );
    } else {
      const found = objects.get(path);
      if (found === undefined) res.writeHead(404).end();
      else res.setHeader("content-length", found.length).end(req.method === "HEAD" ? undefined : found);
    }
  });
  return { upstream, objects, bodies };
}

/** The signed chunks of `aws-chunked`: length in hex, extensions, bytes. */
function unchunk(body: Buffer): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const lineEnd = body.indexOf("\r\n", at);
    const length = Number.parseInt(body.subarray(at, lineEnd).toString("latin1"), 16);
    if (!(length > 0)) return Buffer.concat(parts);
    parts.push(body.subarray(lineEnd + 2, lineEnd + 2 + length));
    at = lineEnd + 2 + length + 2;
  }
}

async function start(env: Record<string, string> = {}) {
  const store = await startStore();
  const gateway = await startGateway({
    env,
    services: { s3: { baseUrl: store.upstream.url, pathPolicy: "raw" } },
  });
  return { ...store, gateway, client: createClient(`${gateway.url}/proxy/s3`) };
}

function createClient(endpoint: string): S3Client {
  const client = new S3Client({
    endpoint,
    forcePathStyle: true,
    region: "eu-central-1",
    maxAttempts: 1,
    credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "an-example-secret" },
  });
  onTestFinished(() => client.destroy());
  return client;
}

describe("S3 client", () => {
  test("The S3 client puts 5 MB with Expect: 100-continue and gets them back byte for byte", async () => {
    const { upstream, client, bodies } = await start();
    const body = randomBytes(5_000_000);
    await client.send(new PutObjectCommand({ Bucket: "bucket", Key: "big.bin", Body: body }));
    const [put] = upstream.requests as [IncomingMessage];
    expect(put.headers.expect).toBeUndefined();
    expect(put.headers.authorization).toMatch(/^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\//);
    expect(put.headers["content-length"]).toBe("5000000");
    expect(sha256(bodies[0] as Buffer)).toBe(sha256(body));
    // The SDK really sends Expect: without the gateway the store receives it.
    const direct = createClient(upstream.url);
    await direct.send(new PutObjectCommand({ Bucket: "bucket", Key: "direct", Body: body }));
    expect(upstream.requests[1]?.headers.expect).toBe("100-continue");
    const got = await client.send(new GetObjectCommand({ Bucket: "bucket", Key: "big.bin" }));
    expect(sha256(Buffer.from((await got.Body?.transformToByteArray()) as Uint8Array))).toBe(sha256(body));
  });

  test("The S3 client's signed chunks and the checksum after them arrive as they were sent", async () => {
    const { client, objects, upstream } = await start();
    const parts = Array.from({ length: 20 }, () => randomBytes(100_000));
    await client.send(
      new PutObjectCommand({ Bucket: "bucket", Key: "stream", Body: Readable.from(parts), ContentLength: 2_000_000 }),
    );
    expect(upstream.requests[0]?.headers["content-encoding"]).toBe("aws-chunked");
    expect(upstream.requests[0]?.headers["x-amz-trailer"]).toMatch(/^x-amz-checksum-/);
    expect(sha256(objects.get("/bucket/stream") as Buffer)).toBe(sha256(Buffer.concat(parts)));
  });

  test.each([
    ["a b/c+d&e=f", "/bucket/a%20b/c%2Bd%26e%3Df"],
    ["x/../y", "/bucket/x/../y"],
    ["./x//y", "/bucket/./x//y"],
    ["100%/ü~(1)'*!", "/bucket/100%25/%C3%BC~%281%29%27%2A%21"],
    ["a%2Fb", "/bucket/a%252Fb"],
  ])("The path of the object key %s arrives as the SDK wrote it", async (key, path) => {
    const { client, upstream, objects } = await start();
    await client.send(new PutObjectCommand({ Bucket: "bucket", Key: key, Body: "x" }));
    expect(upstream.requests[0]?.url?.split("?")[0]).toBe(path);
    expect([...objects.keys()]).toEqual([path]);
    await client.send(new DeleteObjectCommand({ Bucket: "bucket", Key: key }));
    expect(objects.size).toBe(0);
  });

  test("The S3 client pages through a list and reads the 404 of a HEAD", async () => {
    const { client } = await start();
    for (const Key of ["a", "b", "c"]) await client.send(new PutObjectCommand({ Bucket: "bucket", Key, Body: Key }));
    const keys: (string | undefined)[] = [];
    let token: string | undefined;
    do {
      const page = await client.send(new ListObjectsV2Command({ Bucket: "bucket", ContinuationToken: token }));
      keys.push(...(page.Contents ?? []).map(({ Key }) => Key));
      token = page.NextContinuationToken;
    } while (token !== undefined);
    expect(keys).toEqual(["/bucket/a", "/bucket/b", "/bucket/c"]);
    await expect(client.send(new HeadObjectCommand({ Bucket: "bucket", Key: "none" }))).rejects.toBeInstanceOf(
      NotFound,
    );
  });

  test("The S3 client can send the gateway's key in x-api-key, because Authorization holds its signature", async () => {
    const { client, upstream } = await start({ PROXY_API_KEY: PROXY_KEY });
    await expect(client.send(new HeadObjectCommand({ Bucket: "b", Key: "k" }))).rejects.toMatchObject({
      $metadata: { httpStatusCode: 401 },
    });
    client.middlewareStack.add(
      (next) => (args) => {
        (args.request as { headers: Record<string, string> }).headers["x-api-key"] = PROXY_KEY;
        return next(args);
      },
      { step: "build" },
    );
    await client.send(new PutObjectCommand({ Bucket: "b", Key: "k", Body: "x" }));
    expect(upstream.requests[0]?.headers.authorization).toMatch(/^AWS4-HMAC-SHA256/);
    expect(upstream.requests[0]?.rawHeaders.join()).not.toContain(PROXY_KEY);
  });
});
