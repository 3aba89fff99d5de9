/** gRPC with grpc-js on both sides: its client, the gateway's TLS listener and the service's own host, and its server. */
import { type CallOptions, Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY, type TestGateway } from "../support/gateway.ts";
import { type GrpcUpstream, startGrpcUpstream, TEXTS } from "../support/grpc-upstream.ts";
import { startTlsGateway } from "../support/tls-gateway.ts";

const SECRET = "upstream-secret-0123456789";

interface Setup {
  readonly service?: object;
  readonly upstream?: GrpcUpstream;
}

async function start({ service = {}, upstream }: Setup = {}) {
  const grpc = upstream ?? (await startGrpcUpstream());
  const { gateway, pair } = await startTlsGateway({
    env: { PROXY_API_KEY: PROXY_KEY, GRPC_TOKEN: SECRET },
    services: {
      texts: {
        baseUrl: grpc.url,
        http2: true,
        hosts: ["texts.localhost"],
        retries: 0,
        auth: { type: "bearer", tokenEnvVar: "GRPC_TOKEN" },
        ...service,
      },
    },
  });
  return { grpc, gateway, client: connect(gateway, pair.cert), pair };
}

/** @param host of the service. */
function connect(gateway: TestGateway, certificate: string, host = "texts.localhost"): Client {
  const client = new Client(`127.0.0.1:${new URL(gateway.url).port}`, credentials.createSsl(Buffer.from(certificate)), {
    "grpc.ssl_target_name_override": "localhost",
    "grpc.default_authority": host,
  });
  onTestFinished(() => client.close());
  return client;
}

function keyed(extra: Record<string, string> = { authorization: `Bearer ${PROXY_KEY}` }): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(extra)) metadata.set(name, value);
  return metadata;
}

function unary(client: Client, text: string, metadata = keyed(), options: CallOptions = {}) {
  const { path, requestSerialize, responseDeserialize } = TEXTS.unary;
  return new Promise<{ text: string | undefined; error: ServiceError | null }>((resolve) => {
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, text, metadata, options, (error, value) =>
      resolve({ text: value, error }),
    );
  });
}

describe("gRPC through the gateway", () => {
  test("A unary call has the service's credential, and no key of its caller", async () => {
    const { grpc, client } = await start();
    for (const metadata of [keyed(), keyed({ "x-api-key": PROXY_KEY, "x-own": "kept" })]) {
      expect(await unary(client, "hello", metadata)).toEqual({ text: "HELLO", error: null });
    }
    const [first, second] = grpc.calls.map((metadata) => metadata.getMap());
    expect(first).toMatchObject({ authorization: `Bearer ${SECRET}` });
    expect(second).toMatchObject({ authorization: `Bearer ${SECRET}`, "x-own": "kept" });
    expect(JSON.stringify([first, second])).not.toContain(PROXY_KEY);
  });

  test("Calls with streams of the server, of the client and of both work", async () => {
    const { client } = await start();
    const { split, join: joined, chat } = TEXTS;
    const words: string[] = [];
    const reading = client.makeServerStreamRequest(
      split.path,
      split.requestSerialize,
      split.responseDeserialize,
      "a b c",
      keyed(),
    );
    for await (const word of reading) words.push(word as string);
    expect(words).toEqual(["a", "b", "c"]);

    const whole = await new Promise((resolve, reject) => {
      const call = client.makeClientStreamRequest(
        joined.path,
        joined.requestSerialize,
        joined.responseDeserialize,
        keyed(),
        (error, value) => (error === null ? resolve(value) : reject(error)),
      );
      for (const word of ["one", "two"]) call.write(word);
      call.end();
    });
    expect(whole).toBe("one two");

    const replies: string[] = [];
    const both = client.makeBidiStreamRequest(chat.path, chat.requestSerialize, chat.responseDeserialize, keyed());
    both.on("data", (text: string) => replies.push(text));
    for (const text of ["x", "y"]) {
      both.write(text);
      await eventually(() => replies.includes(`re: ${text}`));
    }
    both.end();
    await new Promise((resolve) => both.once("end", resolve));
    expect(replies).toEqual(["re: x", "re: y"]);
  });

  test("A failed call has the server's status and message", async () => {
    const { client } = await start();
    const { error } = await unary(client, "fail 9");
    expect([error?.code, error?.details]).toEqual([status.FAILED_PRECONDITION, "bad: fail 9"]);
    const { path: _, ...texts } = TEXTS.unary;
    const missing = await new Promise<ServiceError | null>((resolve) => {
      client.makeUnaryRequest(
        "/test.Texts/No",
        texts.requestSerialize,
        texts.responseDeserialize,
        "",
        keyed(),
        resolve,
      );
    });
    expect(missing?.code).toBe(status.UNIMPLEMENTED);
  });

  test("The gateway's refusals are gRPC statuses with its message", async () => {
    const { gateway, client, pair } = await start({ service: { rateLimit: { maxRequests: 1, windowMs: 3_600_000 } } });
    const wrong = await unary(client, "a", keyed({ authorization: "Bearer wrong" }));
    expect([wrong.error?.code, wrong.error?.metadata.get("x-proxy-error")]).toEqual([
      status.UNAUTHENTICATED,
      ["INVALID_API_KEY"],
    ]);
    expect((await unary(client, "a")).text).toBe("A");
    const limited = await unary(client, "a");
    expect(limited.error?.code).toBe(status.RESOURCE_EXHAUSTED);
    expect(limited.error?.details).toMatch(/^Rate limit exceeded for texts\./);
    const elsewhere = await unary(connect(gateway, pair.cert, "localhost"), "a");
    expect(elsewhere.error?.code).toBe(status.UNIMPLEMENTED);
    // A client that knows no error of the gateway would show its HTTP status only.
    expect(elsewhere.error?.metadata.get("x-proxy-error")).toEqual(["NOT_FOUND"]);
    expect(elsewhere.error?.details).toBe("There is no route at this path.");
  });

  test("A deadline of the caller ends the call upstream, and so does a cancellation", async () => {
    const { grpc, client } = await start();
    const late = await unary(client, "wait", keyed(), { deadline: Date.now() + 300 });
    expect(late.error?.code).toBe(status.DEADLINE_EXCEEDED);
    await eventually(() => grpc.canceled.length === 1);
    expect(Number(grpc.deadline())).toBeLessThan(Date.now() + 1_000);
    const { split } = TEXTS;
    const call = client.makeServerStreamRequest(
      split.path,
      split.requestSerialize,
      split.responseDeserialize,
      "endless",
      keyed(),
    );
    call.on("error", () => {});
    await new Promise((resolve) => call.once("data", resolve));
    call.cancel();
    await eventually(() => grpc.canceled.includes("endless"));
  });

  test("The gateway's own deadline is DEADLINE_EXCEEDED, and an upstream that is away is UNAVAILABLE until it is back", async () => {
    const upstream = await startGrpcUpstream();
    const { client } = await start({ upstream, service: { timeoutMs: 500, breaker: false } });
    const late = await unary(client, "wait");
    expect([late.error?.code, late.error?.metadata.get("x-proxy-error")]).toEqual([
      status.DEADLINE_EXCEEDED,
      ["UPSTREAM_TIMEOUT"],
    ]);
    upstream.stop();
    await eventually(async () => (await unary(client, "a")).error?.code === status.UNAVAILABLE);
    await startGrpcUpstream(Number(new URL(upstream.url).port));
    expect((await unary(client, "again")).text).toBe("AGAIN");
  });

  test("A stream whose server is stopped ends with an error, not as if it were complete", async () => {
    const { grpc, client } = await start();
    const { split } = TEXTS;
    const call = client.makeServerStreamRequest(
      split.path,
      split.requestSerialize,
      split.responseDeserialize,
      "endless",
      keyed(),
    );
    const failed = new Promise<ServiceError>((resolve) => call.once("error", resolve as never));
    await new Promise((resolve) => call.once("data", resolve));
    grpc.stop();
    expect((await failed).code).not.toBe(status.OK);
  });

  test("Many calls at once share the upstream's streams, and all are served", async () => {
    const upstream = await startGrpcUpstream(0, { "grpc.max_concurrent_streams": 50 });
    const { client } = await start({ upstream, service: { maxConnections: 50, maxPending: 10_000 } });
    const all = await Promise.all(Array.from({ length: 200 }, (_, i) => unary(client, `n${i}`)));
    expect(all.filter(({ text }, i) => text !== `N${i}`)).toEqual([]);
  });
});
