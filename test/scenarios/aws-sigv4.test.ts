/** Services of type aws-sigv4: a real SDK and raw clients, a real gateway, and upstreams that verify each signature. */
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { ACCOUNT, ACCOUNT_ENV, STORE_AUTH, startObjectStore } from "../support/object-store.ts";
import { RandomRequests } from "../support/random-requests.ts";
import { findSignatureFault } from "../support/signature-verifier.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

const env = {
  ...ACCOUNT_ENV,
  EGRESS_ALLOW_PRIVATE: "true",
  PROXY_API_KEY: PROXY_KEY,
  MANAGEMENT_API_KEY: MANAGEMENT_KEY,
};
const manage = { authorization: `Bearer ${MANAGEMENT_KEY}` };
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

async function open(auth: object = {}, service: object = {}) {
  const store = await startObjectStore();
  const s3 = { baseUrl: store.url, pathPolicy: "raw" as const, auth: { ...STORE_AUTH, ...auth }, ...service };
  const gateway = await startGateway({ env, services: { s3 } });
  return { store, gateway, url: `${gateway.url}/proxy/s3` };
}

/** The SDK as its user configures it: another endpoint, and a key of the gateway. */
function clientOf(endpoint: string, accessKeyId = PROXY_KEY): S3Client {
  const credentials = { accessKeyId, secretAccessKey: "any" };
  const client = new S3Client({ endpoint, forcePathStyle: true, region: "us-west-2", maxAttempts: 1, credentials });
  onTestFinished(() => client.destroy());
  return client;
}

interface Sent {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Record<string, string | string[]>;
  readonly body?: Buffer | readonly Buffer[] | null;
}

/** Sends the path as it is, which fetch would not. @returns status, code of the gateway's error, and text. */
function send(base: string, { method = "GET", path, headers = {}, body = null }: Sent) {
  const { hostname, port, pathname } = new URL(base);
  const chunks = body === null ? [] : Array.isArray(body) ? (body as Buffer[]) : [body as Buffer];
  return new Promise<{ status: number; code: unknown; text: string }>((resolve, reject) => {
    const sent = { "x-api-key": PROXY_KEY, ...headers };
    const asking = httpRequest({ hostname, port, method, path: pathname + path, headers: sent }, (res) => {
      res.setEncoding("utf8");
      let text = "";
      res.on("data", (chunk) => {
        text += chunk;
      });
      res.on("end", () => resolve({ status: res.statusCode ?? 0, code: res.headers["x-proxy-error"], text }));
    });
    asking.on("error", reject);
    for (const chunk of chunks) asking.write(chunk);
    asking.end();
  });
}

const chunk = (bytes: Buffer | string) => {
  const data = Buffer.from(bytes);
  const head = `${data.length.toString(16)};chunk-signature=${"0".repeat(64)}\r\n`;
  return Buffer.concat([Buffer.from(head), data, Buffer.from("\r\n")]);
};

describe("The S3 client with a key of the gateway as its access key id", () => {
  test("The S3 client puts, gets, lists, copies and deletes objects, and the store accepts every signature", async () => {
    const { store, url, gateway } = await open({ maxSignedBodyBytes: 8_000_000 });
    const client = clientOf(url);
    const Bucket = "bucket";
    const get = async (Key: string, Range?: string) => {
      const { Body } = await client.send(new GetObjectCommand({ Bucket, Key, Range }));
      return Buffer.from((await Body?.transformToByteArray()) ?? []);
    };
    await client.send(
      new PutObjectCommand({ Bucket, Key: "a", Body: "hello", ContentType: "text/plain; charset=utf-8" }),
    );
    expect((await get("a")).toString()).toBe("hello");
    expect((await get("a", "bytes=1-3")).toString()).toBe("ell");
    expect((await client.send(new HeadObjectCommand({ Bucket, Key: "a" }))).ContentLength).toBe(5);
    await client.send(new CopyObjectCommand({ Bucket, Key: "b", CopySource: "bucket/a" }));
    expect((await get("b")).toString()).toBe("hello");
    const odd = "ü /(1)+ '!*~&=@:,;$%2F%/./../x//y";
    await client.send(new PutObjectCommand({ Bucket, Key: odd, Body: "odd", Metadata: { note: "a   b" } }));
    expect((await get(odd)).toString()).toBe("odd");
    await client.send(new PutObjectCommand({ Bucket, Key: "empty", Body: "" }));
    expect(await get("empty")).toHaveLength(0);
    const stream = [randomBytes(70_000), randomBytes(80_000)];
    const Body = Readable.from(stream);
    await client.send(new PutObjectCommand({ Bucket, Key: "stream", Body, ContentLength: 150_000 }));
    expect(sha256(await get("stream"))).toBe(sha256(Buffer.concat(stream)));
    const large = randomBytes(6_000_000);
    await client.send(new PutObjectCommand({ Bucket, Key: "large", Body: large }));
    expect(sha256(await get("large"))).toBe(sha256(large));
    const upload = {
      Bucket,
      Key: "parts",
      UploadId: (await client.send(new CreateMultipartUploadCommand({ Bucket, Key: "parts" }))).UploadId,
    };
    for (const PartNumber of [1, 2])
      await client.send(new UploadPartCommand({ ...upload, PartNumber, Body: `part ${PartNumber}` }));
    await client.send(new CompleteMultipartUploadCommand(upload));
    expect((await get("parts")).toString()).toBe("part 1part 2");
    const listed = await client.send(new ListObjectsV2Command({ Bucket, Prefix: "" }));
    expect(listed.Contents).toHaveLength(7);
    await client.send(new DeleteObjectCommand({ Bucket, Key: "a" }));
    await expect(get("a")).rejects.toThrow();
    expect(store.faults).toEqual([]);
    const received = store.requests.flatMap(({ rawHeaders, url: path }) => [...rawHeaders, path]).join("\n");
    expect(received).not.toContain(PROXY_KEY);
    expect(gateway.exchanges().every(({ caller }) => caller === "proxy-key")).toBe(true);
  });

  test("Another access key id is refused with 401, and a key that is in a presigned URL only is not read", async () => {
    const { store, url } = await open();
    const head = clientOf(url, "AKIDOFSOMEONEELSE00").send(new HeadObjectCommand({ Bucket: "b", Key: "k" }));
    await expect(head).rejects.toMatchObject({ $metadata: { httpStatusCode: 401 } });
    const query = `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${PROXY_KEY}%2F20261130%2Fus-east-1%2Fs3%2Faws4_request`;
    const presigned = await send(url, { path: `/b/k?${query}`, headers: { "x-api-key": "" } });
    expect(presigned.status).toBe(401);
    expect(store.requests).toHaveLength(0);
  });

  test("The caller's own signature is removed, in headers and in the query, in any case", async () => {
    const { store, url } = await open();
    const names = [
      "Algorithm",
      "Credential",
      "Date",
      "Expires",
      "SignedHeaders",
      "Signature",
      "Security-Token",
      "Content-Sha256",
    ];
    const query = names.map((name) => `X-Amz-${name}=caller&x-amz-${name.toLowerCase()}=caller`).join("&");
    const headers = Object.fromEntries(names.map((name) => [`X-AMZ-${name}`, "caller"]));
    const path = `/b/k?list-type=2&${query}&prefix=p`;
    expect((await send(url, { path, headers: { ...headers, x_amz_date: "caller" } })).status).toBe(200);
    expect(store.requests[0]?.url).toBe("/b/k?list-type=2&prefix=p");
    expect(store.requests[0]?.rawHeaders.join()).not.toContain("caller");
  });
});

describe("Signatures", () => {
  test("The upstream receives a valid signature for every request that the gateway forwards, whatever its path, query and headers", async () => {
    const account = { ...ACCOUNT, service: "execute-api" };
    const faults: string[] = [];
    let count = 0;
    const upstream = await startUpstream(async (req, res) => {
      const body = await bodyOf(req);
      const { method = "", url = "", rawHeaders } = req;
      const isObject = req.headers["x-amz-meta-store"] !== undefined;
      const fault = findSignatureFault({ method, url, rawHeaders, body }, isObject ? ACCOUNT : account, Date.now());
      if (fault !== undefined) faults.push(`${method} ${url}: ${fault}`);
      count++;
      res.end();
    });
    const own = { baseUrl: `${upstream.url}/base`, pathPolicy: "raw" as const, forwardedHeaders: true, cookies: true };
    const setHeaders = { "X-Amz-Meta-Store": "1" };
    const api = { ...own, auth: { ...STORE_AUTH, service: "execute-api" } };
    const s3 = { ...own, auth: STORE_AUTH, setHeaders };
    const gateway = await startGateway({ env, services: { api, s3 } });
    const random = new RandomRequests(3);
    const total = Number(process.env.SIGV4_REQUESTS ?? 120);
    let refused = 0;
    for (let i = 0; i < total; i++) {
      const { method, path, headers: flat, body } = random.raw();
      const headers: Record<string, string> = {
        cookie: "a=b",
        traceparent: "x",
        "user-agent": "a  b",
        connection: "keep-alive, x-amz-meta-z",
      };
      for (let at = 0; at < flat.length; at += 2) headers[flat[at] as string] = flat[at + 1] as string;
      const { status, text } = await send(`${gateway.url}/proxy/${i % 2 === 0 ? "s3" : "api"}`, {
        method,
        path,
        headers,
        body,
      });
      if (status === 400) refused++;
      else if (status !== 200) expect.fail(`${status} ${method} ${path} ${text}`);
    }
    expect(faults).toEqual([]);
    // The gateway refuses paths that lead out of the base.
    expect(count).toBe(total - refused);
    expect(count).toBeGreaterThan(total / 2);
  });

  test("Requests as the SDKs of DynamoDB and Bedrock send them have valid signatures", async () => {
    const seen: string[] = [];
    const faults: (string | undefined)[] = [];
    const upstream = await startUpstream(async (req, res) => {
      const body = await bodyOf(req);
      const service = req.headers["x-amz-target"] === undefined ? "bedrock" : "dynamodb";
      const { method = "", url = "", rawHeaders } = req;
      seen.push(`${service} ${url} ${body.length}`);
      faults.push(findSignatureFault({ method, url, rawHeaders, body }, { ...ACCOUNT, service }, Date.now()));
      res.end("{}");
    });
    const of = (service: string) => ({ baseUrl: upstream.url, auth: { ...STORE_AUTH, service } });
    const gateway = await startGateway({ env, services: { dynamodb: of("dynamodb"), bedrock: of("bedrock") } });
    const key = {
      authorization: `AWS4-HMAC-SHA256 Credential=${PROXY_KEY}/20261130/us-east-1/x/aws4_request, SignedHeaders=host, Signature=0`,
    };
    const target = {
      ...key,
      "x-amz-target": "DynamoDB_20120810.GetItem",
      "content-type": "application/x-amz-json-1.0",
    };
    const post = (service: string, sent: Sent) =>
      send(`${gateway.url}/proxy/${service}`, {
        ...sent,
        method: "POST",
        headers: { "x-api-key": "", ...sent.headers },
      });
    await post("dynamodb", { path: "/", headers: target, body: Buffer.from('{"TableName":"t"}') });
    const model = "/model/anthropic.claude-v2%3A1/invoke-with-response-stream";
    const json = { ...key, "content-type": "application/json" };
    await post("bedrock", { path: model, headers: json, body: Buffer.from("{}") });
    // Other clients leave the colon as it is, and announce no length.
    await post("bedrock", {
      path: model.replace("%3A", ":"),
      headers: json,
      body: [Buffer.from("{"), Buffer.from("}")],
    });
    expect(faults).toEqual([undefined, undefined, undefined]);
    expect(seen).toEqual(["dynamodb / 17", `bedrock ${model} 2`, `bedrock ${model.replace("%3A", ":")} 2`]);
  });

  test("Each attempt has a signature of its own", async () => {
    const dates: string[] = [];
    const upstream = await startUpstream(async (req, res) => {
      const body = await bodyOf(req);
      const { method = "", url = "", rawHeaders } = req;
      dates.push(findSignatureFault({ method, url, rawHeaders, body }, ACCOUNT, Date.now()) ?? "valid");
      const count = rawHeaders.filter((name) => /^(?:authorization|x-amz-)/i.test(name)).length;
      dates.push(String(count));
      res.statusCode = dates.length < 4 ? 503 : 200;
      res.end();
    });
    const gateway = await startGateway({
      env,
      services: { s3: { baseUrl: upstream.url, auth: STORE_AUTH, retries: 2 } },
    });
    const { status } = await send(`${gateway.url}/proxy/s3`, { method: "PUT", path: "/b/k", body: Buffer.from("x") });
    expect(status).toBe(200);
    expect(dates).toEqual(["valid", "4", "valid", "4"]);
  });
});

describe("Bodies", () => {
  test("A body over the limit is refused with 413 before it is read, or as soon as it is too large", async () => {
    const { store, url } = await open({ maxSignedBodyBytes: 1_000 });
    const fits = await send(url, { method: "PUT", path: "/b/k", body: [Buffer.alloc(400), Buffer.alloc(600)] });
    expect(fits.status).toBe(200);
    expect(store.requests[0]?.headers["content-length"]).toBe("1000");
    const announced = { method: "PUT", path: "/b/k", headers: { "content-length": "1001" }, body: Buffer.alloc(1_001) };
    expect(await send(url, announced)).toMatchObject({ status: 413, code: "PAYLOAD_TOO_LARGE" });
    const chunked = { method: "PUT", path: "/b/k", body: [Buffer.alloc(600), Buffer.alloc(600)] };
    const refused = await send(url, chunked);
    expect(refused).toMatchObject({ status: 413, code: "PAYLOAD_TOO_LARGE" });
    expect(refused.text).toContain("maxSignedBodyBytes");
    expect(store.requests).toHaveLength(1);
  });

  test("Bodies that are buffered for a signature share a limit, and release it when their request ends", async () => {
    const { store, url, gateway } = await open({ maxSignedBodyBytes: 60_000_000 });
    const body = Array.from({ length: 34 }, () => Buffer.alloc(1_000_000));
    const refused = await send(url, { method: "PUT", path: "/b/k", body });
    expect(refused).toMatchObject({ status: 503, code: "UNDER_PRESSURE" });
    const leaving = httpRequest(`${url}/b/k`, { method: "PUT", headers: { "x-api-key": PROXY_KEY } });
    leaving.on("error", () => {});
    leaving.write(Buffer.alloc(20_000_000), () => leaving.destroy());
    await eventually(() => gateway.exchanges().some(({ outcome }) => outcome === "client-left"));
    expect((await send(url, { method: "PUT", path: "/b/k", body: body.slice(0, 15) })).status).toBe(200);
    expect(store.requests).toHaveLength(1);
  });

  test("With payload unsigned a body of any size streams, and the signature says so", async () => {
    const { store, url } = await open({ payload: "unsigned" });
    const body = Array.from({ length: 40 }, () => Buffer.alloc(65_536, 7));
    expect((await send(url, { method: "PUT", path: "/b/k", body })).status).toBe(200);
    expect(store.objects.get("/b/k")).toHaveLength(40 * 65_536);
    expect(store.requests[0]?.headers["x-amz-content-sha256"]).toBe("UNSIGNED-PAYLOAD");
    expect(store.faults).toEqual([]);
  });

  test.each(["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"])(
    "Signed chunks (%s) arrive as the plain body",
    async (word) => {
      const { store, url } = await open();
      const headers = {
        "x-amz-content-sha256": word,
        "x-amz-decoded-content-length": "11",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "content-encoding": "aws-chunked,gzip",
      };
      const end = "0;chunk-signature=1\r\nx-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:1\r\n\r\n";
      const whole = Buffer.concat([chunk("hello "), chunk("world"), Buffer.from(end)]);
      const bytes = Array.from(whole, (byte) => Buffer.of(byte));
      for (const body of [whole, bytes]) {
        expect((await send(url, { method: "PUT", path: "/b/k", headers, body })).status).toBe(200);
      }
      expect(store.faults).toEqual([]);
      for (const { headers: received } of store.requests) {
        expect(received).toMatchObject({ "content-length": "11", "content-encoding": "gzip" });
        expect(received["x-amz-decoded-content-length"]).toBeUndefined();
        expect(received["x-amz-trailer"]).toBeUndefined();
      }
      expect(store.objects.get("/b/k")?.toString()).toBe("hello world");
    },
  );

  test("A byte of a signed chunk reaches the upstream before the next one is sent", async () => {
    let onFirst = (_: string) => {};
    const first = new Promise<string>((resolve) => {
      onFirst = resolve;
    });
    const upstream = await startUpstream((req, res) => {
      req.once("data", (bytes) => onFirst(String(bytes)));
      req.on("end", () => res.end(req.headers["content-length"]));
    });
    const auth = { ...STORE_AUTH, payload: "unsigned" as const };
    const gateway = await startGateway({ env, services: { s3: { baseUrl: upstream.url, auth } } });
    const headers = {
      "x-api-key": PROXY_KEY,
      "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
      "x-amz-decoded-content-length": "2",
    };
    const asking = httpRequest(`${gateway.url}/proxy/s3/b/k`, { method: "POST", headers });
    const responded = new Promise<string>((done) =>
      asking.on("response", async (res) => done((await bodyOf(res)).toString())),
    );
    asking.write("2;chunk-signature=0\r\na");
    expect(await first).toBe("a");
    asking.end("b\r\n0;chunk-signature=0\r\n\r\n");
    expect(await responded).toBe("2");
  });

  test.each(["signed", "unsigned"])(
    "Malformed chunks (payload %s) end the request with 400, and no whole object is stored",
    async (payload) => {
      const { store, url } = await open({ payload });
      const sendChunks = (text: string, length: string | undefined, more = {}) => {
        const headers = {
          "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
          ...(length === undefined ? {} : { "x-amz-decoded-content-length": length }),
        };
        return send(url, { method: "PUT", path: "/b/k", headers: { ...headers, ...more }, body: Buffer.from(text) });
      };
      for (const [text, length, reason] of [
        ["zz\r\nab\r\n0\r\n\r\n", "2", "without its length in hexadecimal"],
        ["2\r\nabc\r\n0\r\n\r\n", "2", "longer than its head says"],
        ["2\nab\r\n0\r\n\r\n", "2", "CR LF"],
        ["2\r\nab\r\n", "2", "an end before the last chunk"],
        ["2\r\nab\r\n0\r\n\r\n", "3", "announced 3"],
        ["2\r\nab\r\n0\r\n\r\n", "1", "more bytes than the 1"],
        ["2\r\nab\r\n0\r\n\r\nX", "2", "bytes after the last chunk"],
        [`${"0".repeat(5_000)}\r\n`, "2", "a line of more than"],
        ["2\r\nab\r\n0\r\n\r\n", undefined, "X-Amz-Decoded-Content-Length"],
        ["2\r\nab\r\n0\r\n\r\n", "two", "X-Amz-Decoded-Content-Length"],
      ] as const) {
        const response = await sendChunks(text, length);
        expect(response, text).toMatchObject({ status: 400, code: "INVALID_REQUEST" });
        expect(response.text, text).toContain(reason);
      }
      for (const word of ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"]) {
        const headers = { "x-amz-content-sha256": word, "x-amz-decoded-content-length": "2" };
        const empty = await send(url, { method: "PUT", path: "/b/k", headers });
        expect(empty).toMatchObject({ status: 400, code: "INVALID_REQUEST" });
        expect(empty.text).toContain("announced 2 bytes");
      }
      const events = { "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-EVENTS" };
      expect(await sendChunks("x", "1", events)).toMatchObject({ status: 501, code: "NOT_IMPLEMENTED" });
      expect(store.objects.size).toBe(0);
      if (payload === "signed") expect(store.requests).toHaveLength(0);
    },
  );
});

describe("Secrets", () => {
  const SECRETS = [ACCOUNT.secretAccessKey, ACCOUNT.sessionToken as string, PROXY_KEY];

  test("No secret key, session token, key of a caller or signature is in the log, errors, metrics, status, explanations and audit", async () => {
    const { store, gateway, url } = await open({}, { retries: 0 });
    const client = clientOf(url);
    await client.send(new PutObjectCommand({ Bucket: "b", Key: "k", Body: "x" }));
    const signature = /Signature=([0-9a-f]{64})/.exec(store.requests[0]?.headers.authorization ?? "")?.[1] as string;
    const presigned = `/b/k?X-Amz-Credential=${PROXY_KEY}/20261130/r/s3/aws4_request&X-Amz-Signature=${signature}`;
    const texts = [(await send(url, { path: presigned })).text];
    const headers = { ...manage, "content-type": "application/json" };
    const authorization = `AWS4-HMAC-SHA256 Credential=${PROXY_KEY}/20261130/r/s3/aws4_request, SignedHeaders=host, Signature=${signature}`;
    const body = JSON.stringify({ method: "GET", path: `/proxy/s3${presigned}`, headers: { authorization } });
    const explained = await fetch(`${gateway.url}/manage/explain`, { method: "POST", headers, body });
    const explanation = await explained.text();
    expect(JSON.parse(explanation)).toMatchObject({
      verdict: "forward",
      request: { caller: "proxy-key" },
      credential: {
        state: "present",
        type: "aws-sigv4",
        secrets: [{ name: "accessKeyId" }, { name: "secretAccessKey" }, { name: "sessionToken" }],
      },
    });
    expect(JSON.parse(explanation).keyPlaces).toContain("header Authorization: AWS4-HMAC-SHA256 Credential=<key>/…");
    await fetch(`${gateway.url}/manage/services/s3`, { method: "PATCH", headers, body: '{"name":"S3"}' });
    texts.push(explanation);
    for (const path of [
      "/status",
      "/metrics",
      "/manage/services",
      "/manage/diagnostics",
      "/manage/audit",
      "/manage/requests",
      "/manage/key-debug?service=s3",
    ]) {
      texts.push(await (await fetch(`${gateway.url}${path}`, { headers: manage })).text());
    }
    texts.push(gateway.logText());
    for (const secret of [...SECRETS, signature])
      expect(
        texts.some((text) => text.includes(secret)),
        secret,
      ).toBe(false);
  });

  test("A response header in which the upstream repeats the access key id or the session token is masked", async () => {
    const upstream = await startUpstream((req, res) => {
      req.resume();
      res.setHeader("x-echo", [String(req.headers.authorization), String(req.headers["x-amz-security-token"])]).end();
    });
    const gateway = await startGateway({ env, services: { s3: { baseUrl: upstream.url, auth: STORE_AUTH } } });
    const response = await fetch(`${gateway.url}/proxy/s3/b`, { headers: { "x-api-key": PROXY_KEY } });
    const echo = String(response.headers.get("x-echo"));
    expect(echo).toContain("Credential=***/");
    expect(echo).not.toContain(ACCOUNT.sessionToken);
  });

  test("The probe of a service is signed, and a request without a configured secret is refused with its name", async () => {
    const { store, gateway, url } = await open();
    store.objects.set("/", Buffer.from("root"));
    const probed = await fetch(`${gateway.url}/manage/services/s3/test`, { method: "POST", headers: manage });
    expect(await probed.json()).toMatchObject({ status: "reachable", responseStatus: 200 });
    expect(store.faults).toEqual([]);
    const auth = { ...STORE_AUTH, sessionTokenEnvVar: "ABSENT_TOKEN" };
    const other = await startGateway({ env, services: { s3: { baseUrl: store.url, auth } } });
    const missing = await send(url.replace(gateway.url, other.url), { path: "/b/k" });
    expect(missing).toMatchObject({ status: 401, code: "UPSTREAM_CREDENTIAL_MISSING" });
    expect(missing.text).toContain("ABSENT_TOKEN");
  });

  test("Temporary credentials in files are read again together when they change", async () => {
    const folder = mkdtempSync(join(tmpdir(), "byteproxy-aws-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const file = (name: string) => join(folder, name);
    const write = (id: string, secret: string, token: string) => {
      for (const [name, text] of Object.entries({ id, secret, token })) writeFileSync(file(name), `${text}\n`);
    };
    write("AKIDOLD", "old-secret", "old-token");
    const store = await startObjectStore();
    const auth = {
      ...{ type: "aws-sigv4" as const, region: ACCOUNT.region, service: "s3" },
      ...{ accessKeyIdFile: file("id"), secretAccessKeyFile: file("secret"), sessionTokenFile: file("token") },
    };
    const gateway = await startGateway({ env, services: { s3: { baseUrl: store.url, auth } } });
    const put = () => send(`${gateway.url}/proxy/s3`, { method: "PUT", path: "/b/k", body: Buffer.from("x") });
    expect((await put()).status).toBe(403);
    write(ACCOUNT.accessKeyId, ACCOUNT.secretAccessKey, ACCOUNT.sessionToken as string);
    expect(await gateway.refreshTokens()).toMatchObject({ isDone: true, changed: ["s3"] });
    expect((await put()).status).toBe(200);
  });

  test("Over REST a service may sign only as a service of the file does", async () => {
    const { store, gateway, url } = await open();
    const add = async (key: string, config: object) => {
      const headers = { ...manage, "content-type": "application/json" };
      const body = JSON.stringify({ key, config });
      return (await fetch(`${gateway.url}/manage/services`, { method: "POST", headers, body })).status;
    };
    expect(await add("same", { baseUrl: store.url, pathPolicy: "raw", auth: STORE_AUTH })).toBe(201);
    expect(await add("region", { baseUrl: store.url, auth: { ...STORE_AUTH, region: "us-east-1" } })).toBe(403);
    expect(await add("origin", { baseUrl: "https://example.com", auth: STORE_AUTH })).toBe(403);
    expect(
      (await send(url.replace("/s3", "/same"), { method: "PUT", path: "/b/k", body: Buffer.from("x") })).status,
    ).toBe(200);
  });
});
