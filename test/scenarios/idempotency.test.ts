/** A POST or PATCH with an Idempotency-Key is executed once, and requests that repeat it get its response. */
import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY } from "../support/gateway.ts";
import { openSession, send as sendStream } from "../support/http2-client.ts";
import { AUDIENCE, claimsWith, ISSUER, SECRET, signWithSecret } from "../support/issuer.ts";
import { manage } from "../support/manage.ts";
import { type PostOptions, startOnceApi } from "../support/once-api.ts";
import { startTlsGateway } from "../support/tls-gateway.ts";
import { bodyOf, startRawUpstream, startUpstream } from "../support/upstream.ts";

describe("a repeated request", () => {
  test("A request with a key is sent once, and each repetition gets the same response, marked", async () => {
    const api = await startOnceApi();
    api.respond = (res, { body }, count) =>
      res.writeHead(201, "Made", { "x-charge": "ch_1", "set-cookie": "a=b", etag: '"1"' }).end(`${count}: ${body}`);
    const first = await api.post("order-1");
    expect(first).toMatchObject({ status: 201, body: "1: amount=1", isReplayed: false });
    for (let i = 0; i < 3; i++) {
      const again = await api.post("order-1");
      expect(again).toMatchObject({ status: 201, body: "1: amount=1", isReplayed: true });
      expect(again.headers).toMatchObject({ "x-charge": "ch_1", etag: '"1"', date: first.headers.date });
      expect(again.headers["set-cookie"]).toBeUndefined();
      expect(again.headers["x-proxy-request-id"]).not.toBe(first.headers["x-proxy-request-id"]);
    }
    expect(api.requests).toHaveLength(1);
    expect(api.requests[0]?.req.headers["idempotency-key"]).toBe("order-1");
    expect(await api.post("order-2")).toMatchObject({ body: "2: amount=1", isReplayed: false });
  });

  test("A quoted key is the key of its text, and headers that describe one attempt may differ", async () => {
    const api = await startOnceApi();
    const retry = (count: number) => ({ "x-stainless-retry-count": `${count}`, "user-agent": `agent/${count}` });
    await api.post("k1", "a", { headers: retry(0) });
    const again = await api.post('"k1"', "a", { headers: { ...retry(1), traceparent: "00-1" } });
    expect(again).toMatchObject({ isReplayed: true, body: "1: a" });
  });

  test("A hundred equal requests at the same time are one request to the upstream; the others wait", async () => {
    const api = await startOnceApi();
    let pending: ServerResponse | undefined;
    api.respond = (res) => {
      pending = res;
    };
    const all = Array.from({ length: 100 }, () => api.post("same"));
    await eventually(() => pending);
    const refused = await Promise.all(Array.from({ length: 5 }, () => api.post("same")));
    for (const each of refused) {
      expect(each).toMatchObject({ status: 409, code: "IDEMPOTENCY_CONFLICT" });
      expect(each.headers["retry-after"]).toBe("1");
    }
    pending?.end("done");
    const received = (await Promise.all(all)).map(({ status, headers }) => `${status} ${headers["retry-after"]}`);
    expect(received.filter((each) => each === "200 undefined")).toHaveLength(1);
    expect(received.filter((each) => each === "409 1")).toHaveLength(99);
    expect(api.requests).toHaveLength(1);
    expect(await api.post("same")).toMatchObject({ status: 200, isReplayed: true, body: "done" });
  });

  test("Another request with the same key is refused, not sent, and its client learns what differs", async () => {
    const api = await startOnceApi();
    await api.post("k", "a");
    const others: [difference: string, body: string, more: PostOptions][] = [
      ["another method, path or query", "a", { path: "/proxy/api/other" }],
      ["another method, path or query", "a", { path: "/proxy/api/charges?a=1" }],
      ["another method, path or query", "a", { method: "PATCH" }],
      ["another body", "b", {}],
      ["other headers", "a", { headers: { authorization: "Bearer other-user" } }],
      ["other headers", "a", { headers: { "stripe-account": "acct_2" } }],
      ["other headers", "a", { headers: { "content-type": "application/json" } }],
    ];
    for (const [difference, body, more] of others) {
      const other = await api.post("k", body, more);
      expect(other).toMatchObject({ status: 422, code: "IDEMPOTENCY_MISMATCH" });
      expect(other.body).toContain(` a request with ${difference}.`);
    }
    expect(api.requests).toHaveLength(1);
  });

  test("A caller never gets the response of another caller or of another service", async () => {
    const api = await startOnceApi({}, { services: { other: { baseUrl: "http://127.0.0.1:1", idempotency: true } } });
    const { body: issued } = await manage(api.gateway, "POST", "/keys", { name: "b", permissions: ["api:*"] });
    await api.post("k", "a");
    expect(await api.post("k", "a", { apiKey: issued.key })).toMatchObject({ body: "2: a", isReplayed: false });
    expect(await api.post("k", "a", { path: "/proxy/other/charges" })).toMatchObject({ status: 502 });
    const { body: rotated } = await manage(api.gateway, "POST", `/keys/${issued.id}/rotate`, {});
    expect(await api.post("k", "a", { apiKey: rotated.key })).toMatchObject({ body: "2: a", isReplayed: true });
    await manage(api.gateway, "DELETE", `/keys/${issued.id}`);
    expect(await api.post("k", "a", { apiKey: rotated.key })).toMatchObject({ status: 401 });
  });

  test("Anonymous callers, other methods, WebSockets and services without idempotency pass as before", async () => {
    const api = await startOnceApi(
      { access: "public", idempotency: true },
      { services: { plain: { baseUrl: "http://127.0.0.1:1" } } },
    );
    for (let i = 1; i <= 2; i++) {
      expect(await api.post("k", "a", { apiKey: "" })).toMatchObject({ status: 201, isReplayed: false });
      for (const method of ["PUT", "DELETE"])
        expect(await api.post("k", "a", { method })).toMatchObject({ status: 201 });
      expect(await api.post([], "a")).toMatchObject({ status: 201, isReplayed: false });
    }
    expect(api.requests).toHaveLength(8);
  });
});

test("A key that is not one text is refused and nothing is sent", async () => {
  const api = await startOnceApi();
  const invalid: [key: string | string[], message: string][] = [
    [["a", "b"], "several Idempotency-Key headers"],
    ["", "is empty"],
    ['""', "is empty"],
    ["a, b", "neither a quoted string"],
    ["a,b", "neither a quoted string"],
    ['"a', "neither a quoted string"],
    ['"a"b', "neither a quoted string"],
    ['"a";p=1', "neither a quoted string"],
    ["a b", "neither a quoted string"],
    ["caf\u00e9", "neither a quoted string"],
    ["x".repeat(256), "more than 255"],
  ];
  for (const [key, message] of invalid) {
    const response = await api.post(key);
    expect(response, String(key)).toMatchObject({ status: 400, code: "INVALID_REQUEST" });
    expect(response.body).toContain(message);
  }
  expect(api.requests).toHaveLength(0);
});

test("Tokens are callers of their subject, and tokens without one pass as before", async () => {
  const env = { JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE, JWT_SECRET: SECRET };
  const api = await startOnceApi({}, { env });
  const ask = async (claims: Record<string, unknown>) => {
    const token = await signWithSecret(claimsWith({ scope: "api:*", ...claims }));
    return api.post("k", "a", { apiKey: "", headers: { authorization: `Bearer ${token}` } });
  };
  expect(await ask({ sub: "alice" })).toMatchObject({ body: "1: a" });
  expect(await ask({ sub: "alice", jti: "2" })).toMatchObject({ body: "1: a", isReplayed: true });
  expect(await ask({ sub: "bob" })).toMatchObject({ body: "2: a" });
  for (const [jti, body] of ["3: a", "4: a"].entries()) {
    expect(await ask({ sub: undefined, jti: `${jti}` })).toMatchObject({ body, isReplayed: false });
  }
});

test("The log, metrics, status and explanations show what idempotency did", async () => {
  const api = await startOnceApi();
  const explain = async (key: string, path = "/proxy/api/charges") => {
    const headers = { "idempotency-key": key, "content-type": "text/plain" };
    const request = { method: "POST", path, caller: "proxy-key", headers };
    const { body } = await manage(api.gateway, "POST", "/explain", request);
    return { state: body.idempotency?.state, code: body.refusal?.code };
  };
  expect(await explain("k")).toEqual({ state: "first", code: undefined });
  await api.post("k");
  await api.post("k");
  await api.post("k", "other");
  await api.post([]);
  expect(await explain("k")).toEqual({ state: "replay", code: undefined });
  expect(await explain("k", "/proxy/api/other")).toEqual({ state: undefined, code: "IDEMPOTENCY_MISMATCH" });
  expect(await explain("")).toEqual({ state: undefined, code: "INVALID_REQUEST" });
  expect(api.requests).toHaveLength(2);
  const logged = api.gateway.exchanges().filter(({ service }) => service === "api");
  expect(logged.map(({ idempotency }) => idempotency)).toEqual(["first", "replayed", "mismatch", undefined]);
  expect(logged.map(({ attempts, upstreamUs }) => [attempts, (upstreamUs as number) > 0])).toEqual([
    [1, true],
    [0, false],
    [0, false],
    [1, true],
  ]);
  const operator = { headers: { authorization: `Bearer ${MANAGEMENT_KEY}` } };
  const metrics = await (await fetch(`${api.gateway.url}/metrics`, operator)).text();
  expect(metrics).toContain('byteproxy_idempotency_requests_total{service="api",idempotency="replayed"} 1');
  const status = (await (await fetch(`${api.gateway.url}/status`, operator)).json()) as {
    services: { key: string; idempotency: unknown }[];
  };
  const counts = { first: 1, replayed: 1, conflict: 0, mismatch: 1, keys: 1 };
  expect(status.services.find(({ key }) => key === "api")?.idempotency).toEqual(counts);
});

test("Requests over HTTP/2 are sent once too, and complete without their client", async () => {
  const upstream = await startUpstream(async (req, res) => {
    await bodyOf(req);
    res.writeHead(201).end(`charge ${upstream.requests.length}`);
  });
  const { gateway } = await startTlsGateway({
    env: { PROXY_API_KEY: PROXY_KEY },
    services: { api: { baseUrl: upstream.url, idempotency: true } },
  });
  const session = await openSession(gateway.url);
  const headers = { ":method": "POST", ":path": "/proxy/api/x", "x-api-key": PROXY_KEY, "idempotency-key": "k" };
  const left = session.request(headers, { endStream: false });
  left.on("error", () => {});
  left.end("a", () => setImmediate(() => left.close(8)));
  const again = await eventually(async () => {
    const response = await sendStream(session, headers, "a");
    return response.status === 201 ? response : undefined;
  });
  expect([again.body.toString(), upstream.requests.length]).toEqual(["charge 1", 1]);
  expect((await sendStream(session, headers, "a")).headers["idempotency-replayed"]).toBe("true");
});

describe("a request that was not executed", () => {
  test("A request that never reached the upstream releases its key at once", async () => {
    const dead = { baseUrl: "http://127.0.0.1:1", idempotency: true, breaker: false } as const;
    const api = await startOnceApi({}, { services: { dead } });
    for (let i = 0; i < 2; i++) {
      const failed = await api.post("k", "a", { path: "/proxy/dead/x" });
      expect(failed).toMatchObject({ status: 502, code: "UPSTREAM_UNREACHABLE" });
    }
  });

  test("A response with which the upstream refused to execute the request is not kept", async () => {
    const api = await startOnceApi();
    for (const status of [401, 409, 425, 429]) {
      const key = `k${status}`;
      api.respond = (res) => res.writeHead(status, { "retry-after": "0" }).end("x");
      expect(await api.post(key)).toMatchObject({ status });
      api.respond = (res) => res.end("x");
      expect(await api.post(key)).toMatchObject({ status: 200, isReplayed: false });
      expect(await api.post(key)).toMatchObject({ status: 200, isReplayed: true });
    }
  });

  test("Every other response is replayed, also a failure", async () => {
    const api = await startOnceApi({ breaker: false });
    const statuses = [400, 402, 404, 500, 502, 504];
    for (const status of statuses) {
      api.respond = (res) => res.writeHead(status).end("x");
      await api.post(`k${status}`);
      expect(await api.post(`k${status}`)).toMatchObject({ status, isReplayed: true, body: "x" });
    }
    expect(api.requests).toHaveLength(statuses.length);
  });

  test("A 503 is kept unless it says when to try again", async () => {
    const api = await startOnceApi({ breaker: false });
    api.respond = (res, _, count) => res.writeHead(503, count === 1 ? { "retry-after": "1" } : {}).end();
    await api.post("k");
    expect(await api.post("k")).toMatchObject({ status: 503, isReplayed: false });
    expect(await api.post("k")).toMatchObject({ status: 503, isReplayed: true });
    expect(api.requests).toHaveLength(2);
  });
});

describe("an unknown outcome", () => {
  test("The key of a request without a response is used until its lease ends, and that of a running request longer", async () => {
    const api = await startOnceApi({ idempotency: { ttlSeconds: 1 }, breaker: false });
    let running: ServerResponse | undefined;
    api.respond = (res, { body }, count) => {
      if (body === "long") running = res;
      else if (count === 2) res.destroy();
      else res.end("second");
    };
    const long = api.post("long", "long");
    await eventually(() => running);
    expect(await api.post("cut", "a")).toMatchObject({ status: 502 });
    const refused = await api.post("cut", "a");
    expect(refused).toMatchObject({ status: 409, code: "IDEMPOTENCY_CONFLICT" });
    expect(refused.headers["retry-after"]).toBe("1");
    expect(refused.body).toContain("its outcome is unknown");
    expect(await api.post("cut", "other")).toMatchObject({ status: 422 });
    expect(api.requests).toHaveLength(2);
    const later = await eventually(async () => {
      const response = await api.post("cut", "a");
      return response.status === 409 ? undefined : response;
    });
    expect(later).toMatchObject({ status: 200, body: "second" });
    // It was sent before the other, and has been renewed.
    expect(await api.post("long", "long")).toMatchObject({ status: 409 });
    running?.end("late");
    expect(await long).toMatchObject({ status: 200, body: "late" });
    expect(await api.post("long", "long")).toMatchObject({ isReplayed: true, body: "late" });
    expect(api.requests).toHaveLength(3);
  });

  test("A response that the upstream cut off is cut off for the client and is not replayed", async () => {
    const api = await startOnceApi({ breaker: false });
    api.respond = (res) => {
      res.writeHead(200, { "content-length": "100" });
      res.write("part", () => res.destroy());
    };
    expect(await api.post("k")).toMatchObject({ status: 200, isCut: true });
    expect(await api.post("k")).toMatchObject({ status: 409 });
    expect(api.requests).toHaveLength(1);
  });
});

describe("a client that leaves", () => {
  test("A request whose client leaves is completed, and the client gets the response when it asks again", async () => {
    const api = await startOnceApi();
    let pending: ServerResponse | undefined;
    api.respond = (res) => {
      pending = res;
    };
    const left = api.send("k");
    await eventually(() => pending);
    left.request.destroy();
    await eventually(() => api.gateway.exchanges().some(({ outcome }) => outcome === "client-left"));
    expect(await api.post("k")).toMatchObject({ status: 409 });
    pending?.end("completed");
    const again = await eventually(async () => {
      const response = await api.post("k");
      return response.isReplayed ? response : undefined;
    });
    expect(again).toMatchObject({ status: 200, body: "completed" });
    expect(api.requests).toHaveLength(1);
  });

  test("A response whose client leaves in the middle is received to its end and replayed whole", async () => {
    const api = await startOnceApi();
    let pending: ServerResponse | undefined;
    api.respond = (res) => {
      pending = res;
      res.writeHead(200);
      res.write("first half, ");
    };
    const left = api.send("k");
    left.request.on("response", (res) => res.once("data", () => left.request.destroy()));
    await eventually(() => api.gateway.exchanges().some(({ outcome }) => outcome === "client-left"));
    pending?.end("second half");
    const again = await eventually(async () => {
      const response = await api.post("k");
      return response.isReplayed ? response : undefined;
    });
    expect(again.body).toBe("first half, second half");
    expect(api.requests).toHaveLength(1);
  });

  test("An event stream is not kept: it ends with its client, and its key stays used", async () => {
    const api = await startOnceApi();
    let isClosed = false;
    api.respond = (res) => {
      res.writeHead(200, { "content-type": "text/event-stream" });
      res.write("data: 1\n\n");
      res.on("close", () => {
        isClosed = true;
      });
    };
    const left = api.send("k");
    left.request.on("response", (res) => res.once("data", () => left.request.destroy()));
    await eventually(() => isClosed, "the stream to end");
    const again = await api.post("k");
    expect(again).toMatchObject({ status: 409 });
    expect(again.body).toContain("its response was not kept");
    expect(again.headers["retry-after"]).toBeUndefined();
    expect(api.requests).toHaveLength(1);
  });
});

describe("bounds", () => {
  test("A body over maxBodyBytes is refused before anything is sent, whether it announces its length or not", async () => {
    const api = await startOnceApi({ idempotency: { maxBodyBytes: 1_024 } });
    const large = "x".repeat(1_025);
    const framings: Record<string, string>[] = [{}, { "transfer-encoding": "chunked" }];
    for (const headers of framings) {
      const refused = await api.post("k", large, { headers });
      expect(refused).toMatchObject({ status: 413, code: "PAYLOAD_TOO_LARGE" });
      expect(refused.body).toContain("idempotency.maxBodyBytes");
    }
    expect(await api.post([], large)).toMatchObject({ status: 201 });
    expect(await api.post("k", "x".repeat(1_024))).toMatchObject({ status: 201, isReplayed: false });
    expect(api.requests).toHaveLength(2);
  });

  test("A response over maxBodyBytes reaches its client whole and is not kept", async () => {
    const api = await startOnceApi({ idempotency: { maxBodyBytes: 1_024 } });
    for (const key of ["announced", "chunked"]) {
      api.respond = (res) => {
        if (key === "chunked") res.write("x");
        res.end("y".repeat(2_000));
      };
      expect((await api.post(key)).body.length).toBeGreaterThanOrEqual(2_000);
      expect(await api.post(key)).toMatchObject({ status: 409 });
    }
    expect(api.requests).toHaveLength(2);
  });

  test("A response that holds the injected secret in a header is masked for its client and never kept", async () => {
    const api = await startOnceApi(
      { auth: { type: "bearer", tokenEnvVar: "UPSTREAM_TOKEN" } },
      { env: { UPSTREAM_TOKEN: "upstream-token-0123456789" } },
    );
    api.respond = (res, { req }) => res.writeHead(200, { "x-echo": req.headers.authorization }).end();
    expect((await api.post("k")).headers["x-echo"]).toBe("Bearer ***");
    expect(await api.post("k")).toMatchObject({ status: 409 });
  });
});

test("A replay needs no upstream: neither an open breaker nor an exhausted quota refuses it", async () => {
  const api = await startOnceApi({ breaker: { minRequests: 1, failureRatio: 0.1 }, retries: 0 });
  await api.post("kept");
  api.respond = (res) => res.writeHead(504).end();
  for (let i = 0; i < 3; i++) await api.post(`failing ${i}`.replace(" ", "-"));
  expect(await api.post("another")).toMatchObject({ status: 503, code: "CIRCUIT_OPEN" });
  expect(await api.post("another")).toMatchObject({ status: 503, code: "CIRCUIT_OPEN" });
  expect(await api.post("kept")).toMatchObject({ status: 201, isReplayed: true });
});

test("A replay counts against the rate limit, and its links and CORS headers are those of its own request", async () => {
  const api = await startOnceApi(
    { rateLimit: { maxRequests: 2, windowMs: 60_000 } },
    { env: { CORS_ORIGINS: "https://app.example" } },
  );
  api.respond = (res) => res.writeHead(201, { location: `${api.upstreamUrl}/charges/1` }).end();
  await api.post("k");
  const again = await api.post("k", undefined, { headers: { origin: "https://app.example" } });
  expect(again).toMatchObject({ status: 201, isReplayed: true });
  expect(again.headers.location).toContain("/proxy/api/charges/1");
  expect(again.headers["access-control-allow-origin"]).toBe("https://app.example");
  expect(await api.post("k")).toMatchObject({ status: 429 });
});

test("A token budget is charged once for a key, also for a client that left, and not for replays", async () => {
  const api = await startOnceApi({ budget: { tokens: 100, per: "day" } });
  const usage = { usage: { prompt_tokens: 30, completion_tokens: 20, total_tokens: 50 }, model: "m" };
  let release: (() => void) | undefined;
  api.respond = (res, { body }) => {
    const send = () => res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(usage));
    if (body.includes("slow")) release = send;
    else send();
  };
  const headers = { "content-type": "application/json" };
  const post = (key: string, body = "{}") => api.send(key, body, { headers });
  for (let i = 0; i < 5; i++) expect((await post("k").received).status).toBe(200);
  const left = post("left", '{"slow":1}');
  const respond = await eventually(() => release);
  left.request.destroy();
  await eventually(() => api.gateway.exchanges().some(({ outcome }) => outcome === "client-left"));
  // 50 of 100 tokens are used.
  expect(await post("left", '{"slow":1}').received).toMatchObject({ code: "IDEMPOTENCY_CONFLICT" });
  respond();
  await eventually(async () => (await post("left", '{"slow":1}').received).code === "BUDGET_EXCEEDED");
  expect(api.requests).toHaveLength(2);
});

test("A service with a cache and idempotency sends once and removes what the request changed", async () => {
  const api = await startOnceApi({ cache: true });
  api.respond = (res, { req }, count) =>
    res.writeHead(200, { "cache-control": "max-age=60" }).end(`${req.method} ${count}`);
  const get = () => api.post([], "", { method: "GET" });
  expect((await get()).body).toBe("GET 1");
  expect((await get()).body).toBe("GET 1");
  expect((await api.post("k")).body).toBe("POST 2");
  expect(await api.post("k")).toMatchObject({ body: "POST 2", isReplayed: true });
  expect((await get()).body).toBe("GET 3");
});

test("Interim responses reach the client of a request with a key", async () => {
  const upstream = await startRawUpstream((socket, received) => {
    if (!received.endsWith("amount=1")) return;
    socket.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
  const api = await startOnceApi({ baseUrl: upstream.url });
  const sent = api.send("k");
  const interim: number[] = [];
  sent.request.on("information", ({ statusCode }) => interim.push(statusCode));
  expect(await sent.received).toMatchObject({ status: 200, body: "ok" });
  expect(interim).toEqual([103]);
});
