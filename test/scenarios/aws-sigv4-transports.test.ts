/** Signatures over TLS and HTTP/2, after a user hook, with a cache, and for bodies that turn out to be too large to sign. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { createServer } from "node:https";
import { join } from "node:path";
import { expect, test } from "vitest";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { startHookedGateway } from "../support/hooks.ts";
import { startHttp2Upstream } from "../support/http2-upstream.ts";
import { ACCOUNT, ACCOUNT_ENV, STORE_AUTH } from "../support/object-store.ts";
import { findSignatureFault } from "../support/signature-verifier.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

const env = { ...ACCOUNT_ENV, PROXY_API_KEY: PROXY_KEY };
const file = (name: string) => join(import.meta.dirname, "../support/tls", name);
const pair = { cert: readFileSync(file("localhost.pem")), key: readFileSync(file("localhost-key.pem")) };
const tls = { caFile: file("ca.pem"), servername: "localhost" };
const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

interface Received {
  readonly fault: string | undefined;
  readonly word: unknown;
  readonly hash: string;
  readonly url: string;
}

/** Verifies what it gets. */
async function startVerifier(server?: ReturnType<typeof createServer>) {
  const received: Received[] = [];
  const upstream = await startUpstream(async (req, res) => {
    const body = await bodyOf(req);
    const { method = "", url = "", rawHeaders } = req;
    const fault = findSignatureFault({ method, url, rawHeaders, body }, ACCOUNT, Date.now());
    received.push({ fault, word: req.headers["x-amz-content-sha256"], hash: sha256(body), url });
    res.setHeader("cache-control", "max-age=60").end(`${received.length}`);
  }, server as never);
  return { ...upstream, received };
}

test("To S3 over https a body that is too large to sign streams unsigned, whether its length is announced or not", async () => {
  const upstream = await startVerifier(createServer(pair));
  const s3 = {
    baseUrl: `https://localhost:${upstream.port}`,
    tls,
    auth: { ...STORE_AUTH, maxSignedBodyBytes: 100_000 },
  };
  const gateway = await startGateway({ env, services: { s3 } });
  const chunks = Array.from({ length: 30 }, (_, i) => Buffer.alloc(10_000, i));
  const whole = Buffer.concat(chunks);
  const put = (headers: Record<string, string>, body: readonly Buffer[]) =>
    new Promise<number | undefined>((resolve, reject) => {
      const sent = { "x-api-key": PROXY_KEY, ...headers };
      const asking = httpRequest(`${gateway.url}/proxy/s3/b/k`, { method: "PUT", headers: sent }, (res) => {
        res.resume().on("end", () => resolve(res.statusCode));
      });
      asking.on("error", reject);
      for (const chunk of body) asking.write(chunk);
      asking.end();
    });
  const signedChunks = [
    ...chunks.map((chunk) => ["2710;chunk-signature=0\r\n", chunk, "\r\n"]),
    ["0;chunk-signature=0\r\n\r\n"],
  ];
  const streaming = {
    "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "x-amz-decoded-content-length": String(whole.length),
  };
  expect(await put({ "content-length": String(whole.length) }, chunks)).toBe(200);
  expect(await put({}, chunks)).toBe(200);
  expect(
    await put(
      streaming,
      signedChunks.flat().map((part) => Buffer.from(part)),
    ),
  ).toBe(200);
  expect(await put({}, chunks.slice(0, 10))).toBe(200);
  const [announced, unannounced, decoded, small] = upstream.received;
  for (const each of [announced, unannounced, decoded]) {
    expect(each).toMatchObject({ fault: undefined, word: "UNSIGNED-PAYLOAD", hash: sha256(whole) });
  }
  expect(small?.word).toBe(small?.hash);
  expect(small?.fault).toBeUndefined();
});

test("A body that turns out to be too large to sign takes no shared memory while it streams", async () => {
  let onFirst = () => {};
  const first = new Promise<void>((resolve) => {
    onFirst = resolve;
  });
  const size = 17_000_000;
  const upstream = await startUpstream((req, res) => {
    let received = 0;
    req.on("data", ({ length }) => {
      received += length;
      if (received === size) onFirst();
    });
    req.on("end", () => res.end());
  }, createServer(pair) as never);
  const baseUrl = `https://localhost:${upstream.port}`;
  const s3 = { baseUrl, tls, auth: { ...STORE_AUTH, maxSignedBodyBytes: size - 1 } };
  const gateway = await startGateway({ env, services: { s3 } });
  const put = () => {
    const headers = { "x-api-key": PROXY_KEY };
    const asking = httpRequest(`${gateway.url}/proxy/s3/b/k`, { method: "PUT", headers });
    asking.write(Buffer.alloc(size));
    const status = new Promise((resolve, reject) => {
      asking.on("response", (res) => res.resume().on("end", () => resolve(res.statusCode))).on("error", reject);
    });
    return { asking, status };
  };
  const one = put();
  await first;
  const other = put();
  other.asking.end();
  // Together they are more than one address may hold.
  expect(await other.status).toBe(200);
  one.asking.end();
  expect(await one.status).toBe(200);
});

test("A signature over HTTP/2 covers repeated headers as the upstream receives them", async () => {
  const faults: (string | undefined)[] = [];
  const upstream = await startHttp2Upstream(async (stream, headers) => {
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    const rawHeaders = Object.entries(headers).flatMap(([name, value]) =>
      name.startsWith(":") ? [] : [name, String(value)],
    );
    rawHeaders.push("host", String(headers[":authority"]));
    const request = {
      method: String(headers[":method"]),
      url: String(headers[":path"]),
      rawHeaders,
      body: Buffer.concat(chunks),
    };
    const { "x-amz-meta-a": a, "x-amz-meta-b": b } = headers;
    faults.push(findSignatureFault(request, ACCOUNT, Date.now()), String(a), String(b));
    stream.respond({ ":status": 200 });
    stream.end();
  });
  const gateway = await startGateway({
    env,
    services: { s3: { baseUrl: upstream.url, http2: true, auth: STORE_AUTH } },
  });
  const status = await new Promise((resolve) => {
    const headers = [
      "X-Amz-Meta-A",
      "1",
      "x-amz-meta-a",
      " 2  3 ",
      "x-amz-meta-a",
      "",
      "X-Amz-Meta-B",
      "",
      "x-amz-meta-b",
      "1",
      "X-Api-Key",
      PROXY_KEY,
      "Host",
      "x",
      "Content-Length",
      "2",
    ];
    const asking = httpRequest(`${gateway.url}/proxy/s3/b/k?a&b=%20`, { method: "POST", headers }, (res) =>
      resolve(res.statusCode),
    );
    asking.end("{}");
  });
  expect(status).toBe(200);
  expect(faults[0]).toBeUndefined();
  expect(faults[1]).toMatch(/^1, 2 +3,$/);
  expect(faults[2]).toBe(", 1");
});

test("A signature covers what a user hook has changed, and a hook cannot write a signature", async () => {
  const upstream = await startVerifier();
  const hook = `export default { name: "h", onRequest(request) {
    request.path = "/b/changed";
    request.query = "list-type=2";
    request.headers.set("X-Amz-Meta-Hook", "1");
    for (const name of ["X-Amz-Date", "X-Amz-Signature", "Authorization", "Content-Encoding"]) {
      try { request.headers.set(name, "x"); request.headers.set("X-Amz-Meta-Hook", name); } catch {}
    }
  } };`;
  const gateway = await startHookedGateway(hook, {
    env,
    services: { api: { baseUrl: upstream.url, auth: STORE_AUTH } },
  });
  expect((await gateway.ask("/b/k?x=1")).status).toBe(200);
  expect(upstream.received[0]).toMatchObject({ fault: undefined, url: "/b/changed?list-type=2" });
  expect(upstream.requests[0]?.headers["x-amz-meta-hook"]).toBe("1");
});

test("A cached response needs no signature, and another access key, region or service has a cache of its own", async () => {
  const upstream = await startVerifier();
  const of = (auth: object) => ({ baseUrl: upstream.url, cache: true, auth: { ...STORE_AUTH, ...auth } });
  const services = { one: of({}), region: of({ region: "us-east-1" }) };
  const gateway = await startGateway({ env, services });
  const get = async (service: string, attempt: string) => {
    const authorization = `AWS4-HMAC-SHA256 Credential=${PROXY_KEY}/20261130/x/s3/aws4_request, SignedHeaders=host, Signature=${attempt}`;
    const headers = {
      authorization,
      "x-amz-date": attempt,
      "amz-sdk-invocation-id": attempt,
      "amz-sdk-request": attempt,
    };
    return (await fetch(`${gateway.url}/proxy/${service}/b/k`, { headers })).text();
  };
  expect([await get("one", "1"), await get("one", "2"), await get("region", "3"), await get("region", "4")]).toEqual([
    "1",
    "1",
    "2",
    "2",
  ]);
});
