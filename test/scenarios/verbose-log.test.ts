/** LOG_LEVEL `debug` and `trace`: the steps, the attempts and the names of headers of each exchange. */
import { describe, expect, test } from "vitest";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

const TOKEN = "an-upstream-secret-0123456789";

async function start(level: string) {
  let failures = 1;
  const upstream = await startUpstream((req, res) => {
    if (req.url === "/flaky" && failures-- > 0) return void res.writeHead(503).end();
    res.writeHead(200, { "X-Answer": "a-value-of-the-upstream" }).end("ok");
  });
  const gateway = await startGateway({
    env: { LOG_LEVEL: level, PROXY_API_KEY: PROXY_KEY, API_TOKEN: TOKEN },
    services: {
      api: { baseUrl: upstream.url, auth: { type: "bearer", tokenEnvVar: "API_TOKEN" } },
      down: { baseUrl: "http://127.0.0.1:1/", retries: 0 },
    },
  });
  const get = async (path: string, headers: Record<string, string> = {}) => {
    const response = await fetch(`${gateway.url}/proxy/${path}`, { headers: { "x-api-key": PROXY_KEY, ...headers } });
    await response.text();
    return response.headers.get("x-proxy-request-id");
  };
  const linesOf = (id: string | null, msg: string) =>
    gateway.lines().filter((line) => line.requestId === id && line.msg === msg);
  return { gateway, get, linesOf };
}

describe("debug", () => {
  test("With debug the log has the verdict of each step, in their order", async () => {
    const { get, linesOf } = await start("debug");
    const id = await get("api/x");
    const steps = linesOf(id, "step");
    expect(steps.map(({ step }) => step)).toEqual(
      expect.arrayContaining(["framing", "loop", "shed", "authenticate", "route", "authorize", "credential"]),
    );
    expect(steps[0]?.step).toBe("framing");
    expect(new Set(steps.map(({ verdict }) => verdict))).toEqual(new Set(["pass"]));
  });

  test("With debug the last step of a refused request names the code of the refusal", async () => {
    const { gateway, linesOf } = await start("debug");
    const response = await fetch(`${gateway.url}/proxy/api/x`, { headers: { "x-api-key": "a-wrong-key-0123456789" } });
    const steps = linesOf(response.headers.get("x-proxy-request-id"), "step");
    expect(steps.at(-1)).toMatchObject({ step: "authenticate", verdict: "refuse", code: "INVALID_API_KEY" });
  });

  test("With debug the log has each attempt, with its status or code and its times", async () => {
    const { get, linesOf } = await start("debug");
    const attempts = linesOf(await get("api/flaky"), "attempt");
    expect(attempts.map(({ attempt, status }) => [attempt, status])).toEqual([
      [1, 503],
      [2, 200],
    ]);
    for (const { connectionUs, durationUs } of attempts as Record<string, number>[]) {
      expect(connectionUs).toBeGreaterThanOrEqual(0);
      expect(durationUs).toBeGreaterThanOrEqual(connectionUs as number);
    }
    const [failed] = linesOf(await get("down/x"), "attempt");
    expect(failed).toMatchObject({ attempt: 1, code: "UPSTREAM_UNREACHABLE", connectionUs: null });
  });

  test("With info the log has none of these lines", async () => {
    const { gateway, get } = await start("info");
    await get("api/x");
    expect(gateway.lines().filter(({ msg }) => msg === "step" || msg === "attempt")).toEqual([]);
  });
});

describe("trace", () => {
  test("With trace the log has the names of headers in each direction, and no value", async () => {
    const { gateway, get, linesOf } = await start("trace");
    const id = await get("api/x", { "X-Mine": "a-value-of-the-caller" });
    expect(linesOf(id, "names of the request's headers")[0]?.names).toContain("X-Mine");
    const sent = linesOf(id, "names of the headers to the upstream")[0]?.names;
    expect(sent).toContain("Authorization");
    expect(sent).not.toContain("x-api-key");
    expect(linesOf(id, "names of the upstream's headers")[0]?.names).toContain("x-answer");
    for (const secret of [TOKEN, PROXY_KEY, "a-value-of-the-caller", "a-value-of-the-upstream"]) {
      expect(gateway.logText()).not.toContain(secret);
    }
  });

  test("With debug the log has no name of a header", async () => {
    const { gateway, get } = await start("debug");
    await get("api/x", { "X-Mine": "1" });
    expect(gateway.logText()).not.toMatch(/X-Mine/i);
  });

  test("A message with very many or long names costs a bounded line", async () => {
    const { gateway } = await start("trace");
    const names = Array.from({ length: 200 }, (_, i) => `X-${i}-${"n".repeat(70)}: 1\r\n`).join("");
    await rawRequest(
      gateway.port,
      `GET /proxy/api/x HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: ${PROXY_KEY}\r\nConnection: close\r\n${names}\r\n`,
    );
    const [line] = gateway.lines().filter(({ msg }) => msg === "names of the request's headers");
    const shown = line?.names as string[];
    expect([shown.length, line?.count]).toEqual([100, 203]);
    expect(Math.max(...shown.map(({ length }) => length))).toBeLessThanOrEqual(64);
  });

  test("A key in the name of a header is masked", async () => {
    const { gateway } = await start("trace");
    await rawRequest(
      gateway.port,
      `GET /proxy/api/x HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: ${PROXY_KEY}\r\n${PROXY_KEY}: 1\r\nConnection: close\r\n\r\n`,
    );
    expect(gateway.logText()).not.toContain(PROXY_KEY);
  });
});
