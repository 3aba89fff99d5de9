/** An upstream that sends the injected credential back: no header that the client receives contains it. */
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startRawUpstream } from "../support/upstream.ts";

const SECRET = "query-secret-8Kd72Lp0";
const BASIC = "user:pass-word-9x8y7z";
const AUTHS = {
  header: { auth: { type: "api-key", headerName: "x-goog-api-key", tokenEnvVar: "S" }, env: SECRET },
  query: { auth: { type: "api-key", queryParam: "key", tokenEnvVar: "S" }, env: SECRET },
  bearer: { auth: { type: "bearer", tokenEnvVar: "S" }, env: SECRET },
  basic: { auth: { type: "basic", tokenEnvVar: "S" }, env: BASIC },
  password: { auth: { type: "basic", username: "user", tokenEnvVar: "S" }, env: "pass-word-9x8y7z" },
  path: { auth: { type: "custom", secrets: { s: { envVar: "S" } }, path: "/bot{s}" }, env: SECRET },
  base64: {
    auth: { type: "custom", secrets: { s: { envVar: "S" } }, headers: { "x-goog-api-key": "k {s|base64}" } },
    env: SECRET,
  },
} as const;

/** Everything that a reader of the text may decode from it. */
function readings(text: string): string[] {
  const found = [text];
  for (let i = 0; i < 4; i++)
    found.push(
      (found.at(-1) as string).replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
    );
  const encoded = found.flatMap((each) => each.match(/[A-Za-z0-9+/_-]{8,}/g) ?? []);
  return [...found, ...encoded.map((each) => Buffer.from(each, "base64").toString("latin1"))];
}

/** The head of a response whose headers repeat the request in every place. */
function echoOf(request: string): string {
  const url = request.split(" ")[1] ?? "";
  const credential = /^(?:authorization|x-goog-api-key): (.*)$/im.exec(request)?.[1] ?? new URL(url, "http://x").search;
  return [
    `Location: /login?next=${encodeURIComponent(url)}`,
    `Content-Location: ${url}`,
    `Link: <https://cdn.example/?u=${encodeURIComponent(encodeURIComponent(url))}>; rel=next; title="${credential}"`,
    `Refresh: 0; url=${url}`,
    `X-Echo: ${credential}`,
    `X-Decoded: ${Buffer.from(credential.replace(/^\w+ /, ""), "base64")
      .toString("latin1")
      .replace(/[^ -~]/g, "")}`,
    `X-Base64: ${Buffer.from(`a:${credential}`).toString("base64")}`,
    `Set-Cookie: k=${encodeURIComponent(credential)}`,
    `Vary: ${credential}`,
    `Access-Control-Expose-Headers: ${credential}`,
    "",
  ].join("\r\n");
}

test.each(Object.keys(AUTHS) as (keyof typeof AUTHS)[])(
  "The credential of kind %s comes back in no header: of a response, an interim one, a refused or an accepted WebSocket, a trailer or a reason",
  async (kind) => {
    const { auth, env } = AUTHS[kind];
    const secret = kind === "basic" || kind === "password" ? "pass-word-9x8y7z" : SECRET;
    const upstream = await startRawUpstream((socket, request) => {
      if (!request.endsWith("\r\n\r\n")) return;
      const lines = echoOf(request);
      const reason = /X-Echo: (.*)/.exec(lines)?.[1];
      if (request.includes("/accepted")) {
        socket.write(`HTTP/1.1 101 ${reason}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n${lines}\r\n`);
        return;
      }
      socket.write(`HTTP/1.1 103 Early Hints\r\n${lines}\r\n`);
      socket.write(`HTTP/1.1 302 ${reason}\r\n${lines}Transfer-Encoding: chunked\r\n\r\n`);
      socket.end(`0\r\nX-Trailer: ${reason}\r\n\r\n`);
    });
    const gateway = await startGateway({
      env: { S: env, CORS_ORIGINS: "https://app.example" },
      services: { api: { baseUrl: upstream.url, ws: true, cookies: true, auth: { ...auth } } },
    });
    const websocket =
      "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    for (const [path, lines] of [
      ["/plain", "TE: trailers\r\nConnection: close, TE\r\nOrigin: https://app.example\r\n"],
      ["/refused", websocket],
      ["/accepted", websocket],
    ]) {
      const { text } = await rawRequest(
        gateway.port,
        `GET /proxy/api${path}?x=1 HTTP/1.1\r\nHost: localhost\r\n${lines}\r\n`,
        path === "/accepted" ? { until: "\r\n\r\n" } : {},
      );
      expect(text, path).toMatch(/\*\*\*/);
      for (const reading of readings(text)) expect(reading, path).not.toContain(secret);
    }
  },
);

test.each(["observe", "hold"] as const)(
  "The credential is not shown as the name of a quota, whatever the upstream calls its buckets: mode %s",
  async (mode) => {
    const upstream = await startRawUpstream((socket, request) => {
      if (!request.endsWith("\r\n\r\n")) return;
      const names = `X-RateLimit-Bucket: b-${SECRET}\r\nRateLimit-Policy: "${SECRET}";q=9;w=60\r\nRateLimit: "${SECRET}";r=3;t=60\r\n`;
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 0\r\n${names}\r\n`);
    });
    const gateway = await startGateway({
      env: { S: SECRET, MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: { api: { baseUrl: upstream.url, quota: { mode }, auth: AUTHS.bearer.auth } },
    });
    for (let at = 0; at < 2; at++) expect((await fetch(`${gateway.url}/proxy/api/x`)).status).toBe(200);
    const quota = await eventually(async () => {
      const text = JSON.stringify((await manage(gateway, "GET", "/quota")).body);
      return /"remaining":\d/.test(text) ? text : undefined;
    }, "the quota");
    const status = await (await fetch(`${gateway.url}/status`)).text();
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(quota).toContain("***");
    expect(quota + status + metrics + gateway.logText()).not.toContain(SECRET);
  },
);
