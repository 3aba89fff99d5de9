/** A key with `models`: a request reaches the upstream only if every model that it names is allowed, in every reading. */
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { createMemoryStores } from "../../src/stores/open-stores.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

async function start(models: readonly string[] = ["gpt-4o*", "claude-*-haiku"]) {
  const bodies: string[] = [];
  const upstream = await startUpstream(async (req, res) => {
    bodies.push((await bodyOf(req)).toString());
    res.end("ok");
  });
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY },
    services: { llm: { baseUrl: `${upstream.url}/v1`, ws: true } },
    stores: createMemoryStores() as never,
  });
  const issued = await manage(gateway, "POST", "/keys", { name: "k", permissions: ["llm:*", "manage:keys"], models });
  const key = issued.body.key as string;
  const send = async (path: string, body: string | Buffer, headers: Record<string, string> = {}) => {
    const response = await fetch(`${gateway.url}/proxy/llm${path}`, {
      method: "POST",
      headers: { "x-api-key": key, "content-type": "application/json", ...headers },
      body,
    });
    const text = await response.text();
    return response.status === 200 ? 200 : (JSON.parse(text) as { code: string; message: string; status: number });
  };
  return { gateway, upstream, bodies, key, id: issued.body.id as string, send };
}

const CHAT = "/chat/completions";

describe("A key with models", () => {
  test("An allowed model is forwarded byte for byte; another one is 403 and names what is allowed", async () => {
    const { send, bodies, gateway, key } = await start();
    const body = '{ "x" : "\\u00e9" , "mod\\u0065l":"gpt-4o-mini","n":1e400}';
    expect(await send(CHAT, body)).toBe(200);
    expect(await send(CHAT, '{"model":"claude-3-haiku"}')).toBe(200);
    expect(bodies).toEqual([body, '{"model":"claude-3-haiku"}']);
    expect(await send(CHAT, '{"model":"o3"}')).toMatchObject({
      status: 403,
      code: "MODEL_NOT_ALLOWED",
      message: "Refused: the key may not use the model o3. The key is limited to: gpt-4o*, claude-*-haiku.",
      models: ["gpt-4o*", "claude-*-haiku"],
    });
    const explained = await manage(gateway, "POST", "/explain", {
      ...{ method: "POST", path: `/proxy/llm${CHAT}`, headers: { "x-api-key": key, "content-length": "2" } },
    });
    expect(explained.body).toMatchObject({ verdict: "refuse", models: ["gpt-4o*", "claude-*-haiku"] });
    const open = await fetch(`${gateway.url}/proxy/llm${CHAT}`, {
      method: "POST",
      headers: { "x-api-key": PROXY_KEY },
      body: "o3",
    });
    expect(open.status).toBe(200);
  });

  test("A body that does not name one allowed model, in one way, is refused and not forwarded", async () => {
    const { send, upstream } = await start();
    const bodies = [
      ["another model after it", '{"model":"gpt-4o","model":"o3"}'],
      ["another model before it", '{"model":"o3","model":"gpt-4o"}'],
      ["the same model twice", '{"model":"gpt-4o","model":"gpt-4o"}'],
      ["another model under an escaped name", '{"model":"gpt-4o","\\u006dodel":"o3"}'],
      ["another model under a name in another case", '{"model":"gpt-4o","Model":"o3"}'],
      ["a model under a name in another case only", '{"MODEL":"gpt-4o"}'],
      ["no model", '{"messages":[]}'],
      ["a model inside another member only", '{"x":{"model":"gpt-4o"}}'],
      ["a model that is a list", '{"model":["gpt-4o"]}'],
      ["a model that is null", '{"model":null}'],
      ["a model in another case", '{"model":"GPT-4O"}'],
      ["a model with a line break", '{"model":"gpt-4o\\n"}'],
      ["a model that only contains an allowed one", '{"model":"x-gpt-4o"}'],
      ["alternatives that are not allowed", '{"model":"gpt-4o","models":["gpt-4o","o3"]}'],
      ["alternatives that are objects", '{"model":"gpt-4o","models":[{"id":"o3"}]}'],
      ["a list around it", '[{"model":"gpt-4o"}]'],
      ["a text after it", '{"model":"gpt-4o"}{"model":"o3"}'],
      ["a comment", '{"model":"gpt-4o"/*","x":"*/}'],
      ["a byte order mark", '\ufeff{"model":"gpt-4o"}'],
      ["no JSON", "model=gpt-4o"],
      ["another model under a name that ends early", '{"model":"gpt-4o","model\\u0000x":"o3"}'],
      ["more members than any request has", `{"model":"gpt-4o",${'"x":0,'.repeat(1_000)}"y":0}`],
      ["alternatives under a name that only folds to `models`", '{"model":"gpt-4o","model\u017f":["o3"]}'],
      ["a list of models in one name", '{"model":"gpt-4o,o3"}'],
      ["a path in its name", '{"model":"gpt-4o/../o3"}'],
    ] as const;
    for (const [what, body] of bodies) {
      expect(await send(CHAT, body), what).toMatchObject({ status: 403, code: "MODEL_NOT_ALLOWED" });
    }
    expect(upstream.requests).toEqual([]);
  });

  test("A body that an upstream could read in another way is refused: its type, encoding, characters and their headers", async () => {
    const { send, upstream, gateway, key } = await start();
    const body = '{"model":"gpt-4o","x":"&model=o3&"}';
    const headers: Record<string, string>[] = [
      { "content-type": "application/x-www-form-urlencoded" },
      { "content-type": "multipart/form-data; boundary=x" },
      { "content-type": "application/json; charset=utf-16" },
      { "content-type": "application/json; charset*=utf-16''en" },
      { "content-type": "application/x-www-form-urlencoded+json" },
      { "content-encoding": "gzip" },
      { content_type: "application/x-www-form-urlencoded" },
      { content_encoding: "gzip" },
    ];
    for (const each of headers) expect(await send(CHAT, body, each)).toMatchObject({ code: "MODEL_NOT_ALLOWED" });
    expect(await send(CHAT, Buffer.from('{"model":"gpt-4o","x":"\xff"}', "latin1"))).toMatchObject({
      code: "MODEL_NOT_ALLOWED",
    });
    const twice = await rawRequest(
      gateway.port,
      `POST /proxy/llm${CHAT} HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${key}\r\nContent-Type: application/json\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    );
    expect(twice.text).toContain("X-Proxy-Error: MODEL_NOT_ALLOWED");
    expect(upstream.requests).toEqual([]);
    expect(
      await send(CHAT, body, { "content-type": 'application/json; charset="UTF-8"', "content-encoding": "identity" }),
    ).toBe(200);
  });

  test("A body over 1 MiB is 413, with and without a length", async () => {
    const { send, upstream, gateway, key } = await start();
    const body = `{"model":"gpt-4o","x":"${"y".repeat(1_048_576)}"}`;
    expect(await send(CHAT, body)).toMatchObject({ status: 413, code: "PAYLOAD_TOO_LARGE" });
    const chunked = await fetch(`${gateway.url}/proxy/llm${CHAT}`, {
      method: "POST",
      headers: { "x-api-key": key, "content-type": "application/json" },
      body: new Blob([body]).stream(),
      duplex: "half",
    } as RequestInit);
    expect(chunked.status).toBe(413);
    expect(upstream.requests).toEqual([]);
  });

  test("A model in the path or the query is judged as one in the body", async () => {
    const { send } = await start(["gpt-4o*", "gemini-2.0-*"]);
    expect(await send("/models/gemini-2.0-flash:generateContent", "{}")).toBe(200);
    for (const path of [
      "/models/gemini-ultra:generateContent",
      "/deployments/gpt-5/chat/completions",
      "/%64eployments/gpt-5/chat/completions",
      "/Deployments//gpt-5/chat/completions",
      "/engines/davinci/completions",
      "/model/anthropic.claude-v2:0/invoke",
      `${CHAT}?model=o3`,
      `${CHAT}?a=b&Model=o3`,
      "/%ff/x",
      "/deployments%2Fgpt-5/chat/completions",
      "/x%2fmodels%2fo3%2fchat",
      "/deployments%5Cgpt-5/chat/completions",
      "/deployments\\gpt-5\\chat",
      "/deployments%252Fgpt-5/chat/completions",
      "/%2564eployments/gpt-5/chat/completions",
      "/models%20/o3",
      `/chat%3Fmodel=o3`,
      `${CHAT}?a=b;model=o3`,
      `${CHAT}?model[]=o3`,
      `${CHAT}?%20model%5B0%5D=o3`,
    ]) {
      expect(await send(path, '{"model":"gpt-4o"}'), path).toMatchObject({ code: "MODEL_NOT_ALLOWED" });
    }
    const elsewhere = { "x-original-url": "/v1/deployments/gpt-5/chat/completions" };
    expect(await send(CHAT, '{"model":"gpt-4o"}', elsewhere)).toMatchObject({ code: "MODEL_NOT_ALLOWED" });
    expect(await send("/files/a%2Fb?x=1;y", '{"model":"gpt-4o"}')).toBe(200);
    expect(await send("/models/gpt-4o%2Feu:generate", "{}")).toBe(200);
    expect(await send("/models/o3/predictions", "")).toMatchObject({ code: "MODEL_NOT_ALLOWED" });
    expect(await send("/deployments/gpt-4o-eu/chat/completions?model=gpt-4o", '{"model":"gpt-4o"}')).toBe(200);
  });

  test("Requests without a body pass, and WebSockets are refused", async () => {
    const { gateway, key } = await start();
    const get = (path: string) => fetch(`${gateway.url}/proxy/llm${path}`, { headers: { "x-api-key": key } });
    expect((await get("/models")).status).toBe(200);
    expect((await get("/models/o3")).status).toBe(200);
    expect((await get("/listen?model=o3")).status).toBe(403);
    const socket = new WebSocket(`${gateway.url.replace("http", "ws")}/proxy/llm/realtime?model=gpt-4o`, {
      headers: { "x-api-key": key },
    });
    const [, refusal] = await new Promise<[unknown, { statusCode?: number; headers: Record<string, unknown> }]>(
      (resolve) => socket.once("unexpected-response", (request, response) => resolve([request, response])),
    );
    expect([refusal.statusCode, refusal.headers["x-proxy-error"]]).toEqual([403, "MODEL_NOT_ALLOWED"]);
    socket.on("error", () => {});
    socket.terminate();
  });

  test("A key issues only keys for its own models, and a change of them applies to the keys that it issued", async () => {
    const { gateway, key, id } = await start(["gpt-4o*"]);
    const issue = (models: unknown) =>
      manage(gateway, "POST", "/keys", { name: "c", permissions: ["llm:*"], models }, { "x-api-key": key });
    for (const models of [null, ["*"], ["gpt-4*"], ["gpt-4o", "o3"]]) expect((await issue(models)).status).toBe(403);
    expect((await issue([])).body.code).toBe("VALIDATION_ERROR");
    expect((await issue(["a b"])).body.code).toBe("VALIDATION_ERROR");
    const child = await issue(["gpt-4o-*"]);
    expect(child.body).toMatchObject({ models: ["gpt-4o-*"] });
    const ask = async () =>
      (
        await fetch(`${gateway.url}/proxy/llm${CHAT}`, {
          method: "POST",
          headers: { "x-api-key": child.body.key, "content-type": "application/json" },
          body: '{"model":"gpt-4o-mini"}',
        })
      ).status;
    expect(await ask()).toBe(200);
    await manage(gateway, "PATCH", `/keys/${id}`, { models: ["gpt-4o"] });
    expect(await ask()).toBe(403);
    await manage(gateway, "PATCH", `/keys/${id}`, { models: null });
    expect(await ask()).toBe(200);
  });
});
