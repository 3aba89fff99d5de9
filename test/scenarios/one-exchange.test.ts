/** An error inside one exchange ends only that exchange. */
import { expect, onTestFinished, test } from "vitest";
import { settingsSchema } from "../../src/config/settings.ts";
import { createCors } from "../../src/perimeter/cors.ts";
import { createInstance } from "../../src/perimeter/instance.ts";
import { createGatewayServer, type ServerParts } from "../../src/server.ts";
import { createLogger } from "../../src/telemetry/logger.ts";
import { createSecretMask } from "../../src/telemetry/redact.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

test("An error thrown in one exchange closes its connection, and the other exchanges and the process continue", async () => {
  let text = "";
  const sink = {
    write(lines: string) {
      text += lines;
    },
    flushSync() {},
  };
  const mask = createSecretMask([]);
  const logger = await createLogger({
    level: "info",
    format: "json",
    isEnabled: true,
    isAccessLogged: true,
    mask,
    maskKeys: mask,
    sink,
  });
  const parts: ServerParts = {
    instance: createInstance(),
    cors: createCors(settingsSchema.parse({})),
    logger,
    times: { keepAliveTimeoutMs: 1_000, headersTimeoutMs: 1_000 },
    limits: { all: 100, perAddress: 0, sendTimeoutMs: 1_000, isTrustedPeer: () => false },
    metrics: { countRefusal() {} },
    async dataPlane(req, res) {
      if (req.url === "/proxy/throws") throw new Error("a bug in the gateway");
      res.end("fine");
    },
    addressOf: () => undefined,
    controlPlane: () => new Response("fine"),
  };
  const server = createGatewayServer(parts);
  const port = Number(new URL(await server.listen(0, "127.0.0.1")).port);
  onTestFinished(async () => {
    await server.close(0);
    logger.close();
  });

  const other = await openSocket(port);
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
  const thrown = await rawRequest(port, get("/proxy/throws"));
  expect([thrown.text, thrown.end]).not.toContain("open");
  expect(thrown.text).toBe("");
  other.write(get("/proxy/works"));
  const fine = await rawRequest(port, get("/proxy/works"), { until: "fine" });
  expect(fine.status).toBe(200);
  expect(other.received).toContain("fine");
  logger.flush();
  expect(text).toContain("a bug in the gateway");
});

test("An error thrown in the pipeline is a 500 with its cause in the log only, and releases its slot", async () => {
  const rateLimit = { maxRequests: 100, windowMs: 60_000 };
  const { url: baseUrl } = await startUpstream();
  const gateway = await startGateway({ env: { MAX_IN_FLIGHT: "1" }, services: { api: { baseUrl, rateLimit } } });
  const { now } = Date;
  const restore = () => {
    Date.now = now;
  };
  onTestFinished(restore);
  Date.now = () => {
    if (new Error().stack?.includes("rate-limiter-flexible")) throw new Error("a bug in the gateway");
    return now();
  };
  const answer = await fetch(`${gateway.url}/proxy/api/`);
  restore();
  const text = await answer.text();
  expect([answer.status, answer.headers.get("x-proxy-error")]).toEqual([500, "INTERNAL_ERROR"]);
  expect(text).not.toContain("a bug in the gateway");
  expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(200);
  const { requestId } = JSON.parse(text);
  expect(gateway.lines()).toContainEqual(
    expect.objectContaining({ requestId, err: expect.objectContaining({ message: "a bug in the gateway" }) }),
  );
  expect(gateway.exchanges().map(({ outcome }) => outcome)).toEqual(["failed:INTERNAL_ERROR", "relayed"]);
});
