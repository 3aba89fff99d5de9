/** Services with `access: signature`: what is delivered, what is refused, and what a stranger can use up. */
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { sign as signAsGitHub, verify as verifyAsGitHub } from "@octokit/webhooks-methods";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";
import { describe, expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY = '{"event":"paid","name":"Zoë  \\u00e9"}';

interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

type Respond = (received: Received) => number | undefined | Promise<number>;

type Verify = NonNullable<ServiceInput["verify"]>;

/** @param respond the status of the upstream's response; undefined for none. */
async function start(verify: Partial<Verify> = {}, { service = {}, env = {}, respond = () => 200 }: StartOptions = {}) {
  const received: Received[] = [];
  const upstream = await startUpstream(async (req, res) => {
    const seen = {
      method: req.method as string,
      url: req.url as string,
      headers: req.headers as Record<string, string>,
      body: await bodyOf(req).catch(() => Buffer.alloc(0)),
    };
    received.push(seen);
    const status = await respond(seen);
    if (status !== undefined) res.writeHead(status).end("ok");
  });
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY, HOOK_SECRET: SECRET, ...env },
    services: {
      hook: {
        baseUrl: upstream.url,
        access: "signature",
        verify: { scheme: "stripe", secretEnvVar: "HOOK_SECRET", ...verify },
        ...service,
      },
      other: { baseUrl: upstream.url },
    },
  });
  const send = (headers: Record<string, string>, body: string | Buffer | null = BODY, method = "POST") =>
    fetch(`${gateway.url}/proxy/hook/in?a=1`, {
      method,
      headers,
      body: body === null ? null : new Uint8Array(Buffer.from(body)),
    });
  return { gateway, received, send, upstream };
}

interface StartOptions {
  readonly service?: Partial<ServiceInput>;
  readonly env?: Record<string, string>;
  readonly respond?: Respond;
}

const stripe = new Stripe("sk_test_unused");

const now = () => Math.floor(Date.now() / 1_000);

function stripeHeader(payload: string, { secret = SECRET, timestamp = now() } = {}): Record<string, string> {
  return { "stripe-signature": stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp }) };
}

const gitHubHeader = async (payload: string) => ({ "x-hub-signature-256": await signAsGitHub(SECRET, payload) });

const codeOf = async (response: Response) => ((await response.json()) as { code: string }).code;

async function expectRefused(response: Response | Promise<Response>): Promise<string> {
  const answer = await response;
  const text = await answer.text();
  expect([answer.status, JSON.parse(text).code]).toEqual([401, "INVALID_SIGNATURE"]);
  expect(answer.headers.get("www-authenticate")).toBe('Signature realm="ByteProxy"');
  return text;
}

describe("A signed request", () => {
  test("of Stripe is delivered, and Stripe's library accepts what the upstream receives", async () => {
    const { send, received } = await start();
    expect((await send({ ...stripeHeader(BODY), "content-type": "application/json" })).status).toBe(200);
    const [{ body, headers, url } = {} as Received] = received;
    expect(url).toBe("/in?a=1");
    expect(headers["content-type"]).toBe("application/json");
    expect(stripe.webhooks.constructEvent(body, headers["stripe-signature"] as string, SECRET)).toMatchObject({
      event: "paid",
    });
  });

  test("of GitHub is delivered, and GitHub's library accepts what the upstream receives", async () => {
    const { send, received } = await start({ scheme: "github" });
    expect((await send(await gitHubHeader(BODY))).status).toBe(200);
    const [{ body, headers } = {} as Received] = received;
    expect(await verifyAsGitHub(SECRET, body.toString(), headers["x-hub-signature-256"] as string)).toBe(true);
    await expectRefused(send(await gitHubHeader(`${BODY} `)));
    // It has no time, so a repetition cannot be told from a second event.
    expect((await send(await gitHubHeader(BODY))).status).toBe(200);
  });

  test("of Standard Webhooks is delivered, and its library accepts what the upstream receives", async () => {
    const { send, received } = await start({ scheme: "standard-webhooks" });
    const webhook = new Webhook(SECRET);
    const signed = {
      "webhook-id": "msg_1",
      "webhook-timestamp": `${now()}`,
      "webhook-signature": `v1,${"A".repeat(43)}= ${webhook.sign("msg_1", new Date(), BODY)} v1a,x`,
    };
    expect((await send(signed)).status).toBe(200);
    const [{ body, headers } = {} as Received] = received;
    expect(webhook.verify(body.toString(), headers)).toMatchObject({ event: "paid" });
  });

  test("keeps every byte of a binary and of a chunked body", async () => {
    const { gateway, send, received } = await start({ scheme: "hmac", header: "X-Sign", encoding: "base64" });
    const body = Buffer.from(Array.from({ length: 3_000 }, (_, i) => i % 256));
    const sign = (bytes: Buffer) => createHmac("sha256", SECRET).update(bytes).digest("base64");
    expect((await send({ "x-sign": sign(body) }, body)).status).toBe(200);
    const half = body.subarray(0, 1_500).toString("latin1");
    const rest = body.subarray(1_500).toString("latin1");
    const head = `POST /proxy/hook/in HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Sign: ${sign(body)}\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const chunked = await rawRequest(gateway.port, [head, `5dc\r\n${half}\r\n`, `5dc\r\n${rest}\r\n`, "0\r\n\r\n"]);
    expect(chunked.status).toBe(200);
    expect(received.map((each) => each.body.equals(body))).toEqual([true, true]);
  });

  test.each(["GET", "HEAD", "DELETE"])(
    "without a body is delivered for %s if the empty body is signed",
    async (method) => {
      const { send, received } = await start();
      expect((await send(stripeHeader(""), null, method)).status).toBe(200);
      await expectRefused(
        method === "HEAD" ? send(stripeHeader("x"), null, "GET") : send(stripeHeader("x"), null, method),
      );
      expect(received.map((each) => each.method)).toEqual([method]);
    },
  );

  test("is sent again with its whole body where its method may be repeated", async () => {
    const { send, received } = await start(
      {},
      { service: { retries: 1 }, respond: () => (received.length === 1 ? 503 : 200) },
    );
    expect((await send(stripeHeader(BODY), BODY, "PUT")).status).toBe(200);
    expect(received.map(({ body }) => body.toString())).toEqual([BODY, BODY]);
  });

  test("gets 100 Continue only after its headers were accepted", async () => {
    const { gateway } = await start();
    const head = (signature: string) =>
      `POST /proxy/hook/in HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: ${Buffer.byteLength(BODY)}\r\nStripe-Signature: ${signature}\r\n\r\n`;
    const unsigned = await rawRequest(gateway.port, head("t=1,v1=00"));
    expect(unsigned.text).toMatch(/^HTTP\/1\.1 401 /);
    const socket = await openSocket(gateway.port);
    socket.write(head(stripeHeader(BODY)["stripe-signature"] as string));
    await eventually(() => socket.received === "HTTP/1.1 100 Continue\r\n\r\n", "100 Continue");
    socket.write(BODY);
    await eventually(() => socket.received.includes("HTTP/1.1 200 OK"), "the response");
  });
});

describe("A request that is not signed by the secret", () => {
  test("is refused with one text for every fault, and the log names the fault", async () => {
    const { gateway, send, received } = await start();
    const old = now() - 301;
    const texts = [
      await expectRefused(send({})),
      await expectRefused(send({ "stripe-signature": "t=,v1=" })),
      await expectRefused(send(stripeHeader(BODY, { timestamp: old }))),
      await expectRefused(send(stripeHeader(BODY, { secret: "whsec_other" }))),
      await expectRefused(send({ "x-api-key": PROXY_KEY })),
      await expectRefused(send({ ...stripeHeader(`${BODY}.`), authorization: `Bearer ${PROXY_KEY}` })),
    ];
    expect(new Set(texts.map((text) => text.replace(/"requestId":"[^"]+"/, ""))).size).toBe(1);
    const faults = gateway.lines().flatMap(({ fault }) => fault ?? []);
    expect(faults).toEqual(["missing", "malformed", "stale", "mismatch", "missing", "mismatch"]);
    expect(received).toEqual([]);
    expect(gateway.logText()).not.toContain(SECRET);
  });

  test("is no guess of a key: its address is not locked out", async () => {
    const { gateway, send } = await start();
    for (let i = 0; i < 25; i++) await expectRefused(send(stripeHeader(BODY, { secret: `whsec_${i}` })));
    const answer = await fetch(`${gateway.url}/proxy/other/`, { headers: { "x-api-key": PROXY_KEY } });
    expect(answer.status).toBe(200);
    expect((await send(stripeHeader(BODY))).status).toBe(200);
  });

  test("does not use up the limit of the service", async () => {
    const { send } = await start({}, { service: { rateLimit: { maxRequests: 1, windowMs: 60_000 } } });
    for (let i = 0; i < 3; i++) await expectRefused(send(stripeHeader(BODY, { secret: "whsec_x" })));
    expect((await send(stripeHeader(BODY))).status).toBe(200);
    expect((await send(stripeHeader("another"), "another")).status).toBe(429);
  });

  test("counts for the limit of its address", async () => {
    const { send } = await start({}, { service: { rateLimit: { maxRequests: 2, windowMs: 60_000, per: "ip" } } });
    for (let i = 0; i < 2; i++) await expectRefused(send(stripeHeader(BODY, { secret: "whsec_x" })));
    expect((await send(stripeHeader(BODY))).status).toBe(429);
  });

  test("is refused as a WebSocket with 426", async () => {
    const { gateway } = await start();
    const answer = await rawRequest(
      gateway.port,
      `GET /proxy/hook/in HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nStripe-Signature: ${stripeHeader("")["stripe-signature"]}\r\n\r\n`,
    );
    expect(answer.status).toBe(426);
  });

  test("cannot fill the memory with bodies: they share 64 MiB, half of it for one address, which are free again when the requests end", async () => {
    const maxBodyBytes = 16 * 1_048_576;
    const { gateway, send } = await start({ maxBodyBytes });
    const head = `POST /proxy/hook/in HTTP/1.1\r\nHost: x\r\nContent-Length: ${maxBodyBytes}\r\nStripe-Signature: ${stripeHeader("")["stripe-signature"]}\r\n\r\n`;
    const part = Buffer.alloc(15 * 1_048_576, "a");
    const sockets = await Promise.all(Array.from({ length: 5 }, () => openSocket(gateway.port)));
    for (const socket of sockets) {
      socket.write(head);
      socket.write(part);
    }
    const full = await eventually(
      () => sockets.find(({ received }) => received.includes("\r\n\r\n")),
      "the refusal",
      15_000,
    );
    expect(full.received).toMatch(/^HTTP\/1\.1 503 .*UNDER_PRESSURE.*signedBodies/s);
    const elsewhere = request(`${gateway.url}/proxy/hook/in`, { method: "POST", localAddress: "127.0.0.2" });
    for (const [name, value] of Object.entries(stripeHeader(BODY))) elsewhere.setHeader(name, value);
    elsewhere.end(BODY);
    const [delivered] = (await once(elsewhere, "response")) as [IncomingMessage];
    expect(delivered.resume().statusCode).toBe(200);
    for (const socket of sockets) socket.destroy();
    await eventually(async () => {
      const answer = await send(stripeHeader("again"), "again");
      await answer.text();
      return answer.status === 200;
    }, "a delivery");
  }, 30_000);
});

describe("A signature with a time", () => {
  test("is delivered once: every later request with it is refused", async () => {
    const { send, received } = await start();
    const signed = stripeHeader(BODY);
    expect((await send(signed)).status).toBe(200);
    await expectRefused(send(signed));
    const [time, signature] = (signed["stripe-signature"] as string).split(",");
    await expectRefused(
      send({ "stripe-signature": `${signature?.toUpperCase().replace("V1", "v1")} , v0=1, ${time}` }),
    );
    expect(received).toHaveLength(1);
  });

  test("is refused while the same request is being delivered", async () => {
    let finish = () => {};
    const { gateway, send, received } = await start({}, { respond: () => undefined });
    const signed = stripeHeader(BODY);
    const cancel = new AbortController();
    finish = () => cancel.abort();
    const first = fetch(`${gateway.url}/proxy/hook/in`, {
      method: "POST",
      headers: signed,
      body: BODY,
      signal: cancel.signal,
    });
    await eventually(() => received.length === 1, "the delivery");
    await expectRefused(send(signed));
    finish();
    await expect(first).rejects.toThrow();
    // The upstream may have accepted it, so that the client that left cannot repeat it.
    await eventually(
      () => gateway.exchanges().some(({ outcome }) => outcome === "client-left"),
      "the end of the first",
    );
    await expectRefused(send(signed));
    expect(received).toHaveLength(1);
  });

  test.each([500, 503, 404, 302])("may be sent again after the upstream responded %i", async (status) => {
    const { send, received } = await start({}, { respond: () => (received.length === 1 ? status : 204) });
    const signed = stripeHeader(BODY);
    const headers = { ...signed, "user-agent": "sender" };
    const first = await send(headers).catch((error: Error) => error);
    if (first instanceof Response && !first.redirected) expect(first.status).toBe(status);
    expect((await send(signed)).status).toBe(204);
    await expectRefused(send(signed));
  });

  test("may be sent again after the gateway could not reach the upstream", async () => {
    const { gateway } = await start({}, { service: { baseUrl: "http://127.0.0.1:1", retries: 0 } });
    const signed = stripeHeader(BODY);
    for (let i = 0; i < 2; i++) {
      const answer = await fetch(`${gateway.url}/proxy/hook/in`, { method: "POST", headers: signed, body: BODY });
      expect([answer.status, await codeOf(answer)]).toEqual([502, "UPSTREAM_UNREACHABLE"]);
    }
  });

  test("is remembered through a reload", async () => {
    const { gateway, send } = await start();
    const signed = stripeHeader(BODY);
    expect((await send(signed)).status).toBe(200);
    await gateway.reload();
    await expectRefused(send(signed));
  });
});

describe("The body of a signed request", () => {
  test.each(["announced", "chunked"])("is refused with 413 over maxBodyBytes if it is %s", async (framing) => {
    const { gateway, received } = await start({ maxBodyBytes: 10 });
    const signed = (body: string) => `Stripe-Signature: ${stripeHeader(body)["stripe-signature"]}`;
    const request = (body: string) =>
      framing === "announced"
        ? `Content-Length: ${body.length}\r\n\r\n${body}`
        : `Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    const send = (body: string) =>
      rawRequest(
        gateway.port,
        `POST /proxy/hook/in HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${signed(body)}\r\n${request(body)}`,
      );
    expect((await send("0123456789")).status).toBe(200);
    const over = await send("0123456789a");
    expect(over.status).toBe(413);
    expect(over.body).toContain("verify.maxBodyBytes");
    expect(received).toHaveLength(1);
  });

  test("has timeoutMs to arrive, however it trickles", async () => {
    const { gateway, received } = await start({}, { service: { timeoutMs: 300 } });
    const socket = await openSocket(gateway.port);
    socket.write(
      `POST /proxy/hook/in HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nStripe-Signature: ${stripeHeader(BODY)["stripe-signature"]}\r\n\r\n`,
    );
    const trickle = setInterval(() => socket.write("a"), 20);
    await eventually(() => socket.received.startsWith("HTTP/1.1 408 "), "the refusal");
    clearInterval(trickle);
    expect(received).toEqual([]);
  });

  test("leaves the upstream its whole timeoutMs, however long it took to arrive", async () => {
    const slowly = () => new Promise<number>((resolve) => setTimeout(() => resolve(503), 600));
    const { gateway, received } = await start(
      {},
      { service: { timeoutMs: 1_000, retries: 1 }, respond: () => (received.length === 1 ? slowly() : 200) },
    );
    const socket = await openSocket(gateway.port);
    socket.write(
      `PUT /proxy/hook/in HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nStripe-Signature: ${stripeHeader("ab")["stripe-signature"]}\r\n\r\na`,
    );
    const since = performance.now();
    await eventually(() => performance.now() - since > 600);
    socket.write("b");
    await eventually(() => socket.received !== "", "the response");
    expect(socket.received).toMatch(/^HTTP\/1\.1 200 /);
    expect(gateway.exchanges()).toMatchObject([{ status: 200, bytesIn: 2, attempts: 2 }]);
  });

  test("is refused if its signed time is too old when it has arrived, because its repetition would not be found", async () => {
    const { gateway, received } = await start({ toleranceSeconds: 1 });
    const socket = await openSocket(gateway.port);
    const timestamp = now();
    const signed = stripeHeader("ab", { timestamp })["stripe-signature"];
    socket.write(
      `POST /proxy/hook/in HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nStripe-Signature: ${signed}\r\n\r\na`,
    );
    await eventually(() => now() > timestamp + 1);
    socket.write("b");
    await eventually(() => socket.received.startsWith("HTTP/1.1 401 "), "the refusal");
    expect(gateway.lines()).toContainEqual(expect.objectContaining({ fault: "stale" }));
    expect(gateway.exchanges()).toMatchObject([{ bytesIn: 2 }]);
    expect(received).toEqual([]);
  });

  test("that becomes malformed is 400, and a client that leaves inside it is logged as client-left", async () => {
    const { gateway, received } = await start();
    const head = `POST /proxy/hook/in HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nStripe-Signature: ${stripeHeader(BODY)["stripe-signature"]}\r\n\r\n`;
    expect((await rawRequest(gateway.port, `${head}1\r\na\r\nzz\r\n`)).status).toBe(400);
    const socket = await openSocket(gateway.port);
    socket.write(`${head}1\r\na\r\n`);
    await eventually(
      async () => (await (await fetch(`${gateway.url}/health`)).text()) !== "" && socket.bytesWritten > 0,
    );
    socket.destroy();
    const outcomes = () => gateway.exchanges().map(({ outcome }) => outcome);
    await eventually(() => outcomes().length === 2, "both exchanges");
    expect(outcomes()).toEqual(["refused:INVALID_REQUEST", "client-left"]);
    expect(gateway.logText()).not.toContain("internal error");
    expect(received).toEqual([]);
  });
});
