/** The SDKs of Anthropic and Discord, with only base URL and key changed, against substitutes for their APIs. */
import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import Anthropic from "@anthropic-ai/sdk";
import { DiscordAPIError, REST } from "@discordjs/rest";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

type Handler = (req: IncomingMessage, res: ServerResponse) => void;

const json = (res: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) =>
  res.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));

describe("@anthropic-ai/sdk", () => {
  const UPSTREAM_KEY = "sk-ant-upstream-secret";
  const message = {
    id: "msg_1",
    type: "message",
    role: "assistant",
    model: "m",
    stop_reason: "end_turn",
    stop_sequence: null,
    content: [{ type: "text", text: "Hello" }],
    usage: { input_tokens: 1, output_tokens: 1 },
  };
  const params = { model: "m", max_tokens: 10, messages: [{ role: "user" as const, content: "hi" }] };

  async function startAnthropic(handler: Handler) {
    const upstream = await startUpstream(handler);
    const gateway = await startGateway({
      env: { ANTHROPIC_API_KEY: UPSTREAM_KEY, PROXY_API_KEY: PROXY_KEY },
      services: {
        anthropic: {
          baseUrl: upstream.url,
          auth: { type: "api-key", headerName: "x-api-key", tokenEnvVar: "ANTHROPIC_API_KEY" },
        },
      },
    });
    const client = new Anthropic({ apiKey: PROXY_KEY, baseURL: `${gateway.url}/proxy/anthropic`, maxRetries: 1 });
    return { upstream, gateway, client };
  }

  test("Anthropic's SDK gets a message; its x-api-key holds the gateway's key, and the upstream receives its own", async () => {
    const { upstream, client } = await startAnthropic((_, res) => json(res, 200, message));
    const response = await client.messages.create(params);
    expect(response.content).toEqual(message.content);
    const [request] = upstream.requests as [IncomingMessage];
    expect(request.url).toBe("/v1/messages");
    expect(request.headers["anthropic-version"]).toMatch(/^\d{4}-\d\d-\d\d$/);
    const keys = request.rawHeaders.filter((_, i) => request.rawHeaders[i - 1]?.toLowerCase() === "x-api-key");
    expect(keys).toEqual([UPSTREAM_KEY]);
    expect(request.rawHeaders.join()).not.toContain(PROXY_KEY);
  });

  test("Anthropic's SDK reads a stream event by event, and its abort ends the upstream's request", async () => {
    const { upstream, client, gateway } = await startAnthropic((_, res) => {
      res.writeHead(200, { "content-type": "text/event-stream" });
      const send = (type: string, data: object) =>
        res.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`);
      send("message_start", { message: { ...message, content: [], stop_reason: null } });
      send("content_block_start", { index: 0, content_block: { type: "text", text: "" } });
      send("content_block_delta", { index: 0, delta: { type: "text_delta", text: "Hel" } });
    });
    const stream = client.messages.stream(params);
    const ended = stream.done().catch((error: unknown) => error);
    const text = await new Promise<string>((resolve) => stream.once("text", (delta) => resolve(delta)));
    expect(text).toBe("Hel");
    stream.abort();
    expect(await ended).toBeInstanceOf(Anthropic.APIUserAbortError);
    await eventually(() => upstream.sockets.size === 0, "the upstream's socket to close", 1_000);
    await eventually(() => gateway.exchanges()[0]?.outcome === "client-left");
  });

  test("Anthropic's SDK retries as the upstream says, and reads an error in the upstream's own form", async () => {
    let requestCount = 0;
    const { client } = await startAnthropic((_, res) => {
      requestCount++;
      if (requestCount === 1)
        json(
          res,
          529,
          { type: "error", error: { type: "overloaded_error", message: "busy" } },
          { "retry-after-ms": "5" },
        );
      else
        json(
          res,
          400,
          { type: "error", error: { type: "invalid_request_error", message: "no such model" } },
          { "request-id": "req_1" },
        );
    });
    const error = await client.messages.create(params).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Anthropic.BadRequestError);
    expect(error).toMatchObject({ status: 400, requestID: "req_1", error: { error: { message: "no such model" } } });
    expect(requestCount).toBe(2);
  });

  test("Anthropic's SDK reports the gateway's 401 as an authentication error", async () => {
    const { gateway } = await startAnthropic((_, res) => json(res, 200, message));
    const stranger = new Anthropic({ apiKey: "some-other-key-0123456789", baseURL: `${gateway.url}/proxy/anthropic` });
    await expect(stranger.messages.create(params)).rejects.toBeInstanceOf(Anthropic.AuthenticationError);
  });
});

describe("@discordjs/rest", () => {
  async function startDiscord(handler: Handler, service = {}) {
    const upstream = await startUpstream(handler);
    const gateway = await startGateway({
      env: { DISCORD_TOKEN: "discord-upstream-token", PROXY_API_KEY: PROXY_KEY },
      services: {
        discord: {
          baseUrl: `${upstream.url}/api/v10/`,
          versionedBaseUrls: { v9: `${upstream.url}/api/v9/`, v10: `${upstream.url}/api/v10/` },
          auth: { type: "bot", tokenEnvVar: "DISCORD_TOKEN" },
          ...service,
        },
      },
    });
    const client = (version = "10") =>
      new REST({ api: `${gateway.url}/proxy/discord`, version, retries: 0 }).setToken(PROXY_KEY);
    return { upstream, gateway, client };
  }

  test("Discord's SDK reads and posts as a bot: it sends the gateway's key as Bot, and the upstream receives the real token", async () => {
    const bodies: unknown[] = [];
    const { upstream, client } = await startDiscord(async (req, res) => {
      if (req.method === "POST") bodies.push(JSON.parse(String(await bodyOf(req))));
      json(res, 200, { id: "1", content: "hi" });
    });
    expect(await client().get("/users/@me")).toEqual({ id: "1", content: "hi" });
    await client("9").post("/channels/42/messages", { body: { content: "hi" }, reason: "größe" });
    expect(upstream.requests.map(({ url }) => url)).toEqual(["/api/v10/users/@me", "/api/v9/channels/42/messages"]);
    for (const { headers } of upstream.requests) expect(headers.authorization).toBe("Bot discord-upstream-token");
    expect(upstream.requests[1]?.headers["x-audit-log-reason"]).toBe("gr%C3%B6%C3%9Fe");
    expect(bodies).toEqual([{ content: "hi" }]);
  });

  test("Discord's SDK uploads a file as multipart, byte for byte", async () => {
    const file = randomBytes(2_000_000);
    let received = Buffer.alloc(0) as Buffer;
    const { client } = await startDiscord(async (req, res) => {
      received = await bodyOf(req);
      json(res, 200, { id: "2" });
    });
    await client().post("/channels/42/messages", {
      body: { content: "a file" },
      files: [{ name: "a.bin", data: file }],
    });
    expect(received.includes(file)).toBe(true);
  });

  test("With quota.mode: observe Discord's SDK sees the upstream's limits unchanged, waits after a 429 and continues", async () => {
    let requestCount = 0;
    const { client } = await startDiscord(
      (_, res) => {
        requestCount++;
        const limits = { "x-ratelimit-limit": "5", "x-ratelimit-bucket": "abc", "x-ratelimit-reset-after": "0.2" };
        if (requestCount === 1)
          json(
            res,
            429,
            { message: "slow down", retry_after: 0.2, global: false },
            { ...limits, "x-ratelimit-remaining": "0", "retry-after": "1", "x-ratelimit-scope": "user" },
          );
        else json(res, 200, { id: "3" }, { ...limits, "x-ratelimit-remaining": "4" });
      },
      { quota: { mode: "observe" } },
    );
    const rest = client();
    const limited: unknown[] = [];
    rest.on("rateLimited", (info) => limited.push(info));
    expect(await rest.get("/users/@me")).toEqual({ id: "3" });
    expect(requestCount).toBe(2);
    expect(limited.length).toBeGreaterThan(0);
  });

  test("Discord's SDK reads an error in Discord's own form", async () => {
    const { client } = await startDiscord((_, res) => json(res, 404, { message: "Unknown Channel", code: 10003 }));
    const error = await client()
      .get("/channels/1")
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DiscordAPIError);
    expect(error).toMatchObject({ code: 10003, status: 404 });
  });
});
