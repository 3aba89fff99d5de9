/** gRPC and gRPC-Web with callers over HTTP/1.1: what reaches a gRPC server, and the gateway's own responses. */
import { expect, test } from "vitest";
import { PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { startGrpcUpstream } from "../support/grpc-upstream.ts";
import { rawRequest } from "../support/raw-request.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

const ORIGIN = "https://app.example";

/** One message with its prefix. */
function message(text: string): string {
  return `\0${String.fromCharCode(0, 0, 0, text.length)}${text}`;
}

function post(path: string, type: string, body: string, ...headers: string[]): string {
  return [
    `POST ${path} HTTP/1.1`,
    "Host: localhost",
    `Content-Type: ${type}`,
    `Content-Length: ${body.length}`,
    "Connection: close, TE",
    "TE: trailers",
    ...headers,
    "",
    body,
  ].join("\r\n");
}

const KEY = `x-api-key: ${PROXY_KEY}`;

async function start(): Promise<TestGateway & { readonly received: { type: string | undefined; body: string }[] }> {
  const received: { type: string | undefined; body: string }[] = [];
  const grpc = await startGrpcUpstream();
  const web = await startUpstream(async (req, res) => {
    received.push({ type: req.headers["content-type"], body: (await bodyOf(req)).toString("latin1") });
    res.writeHead(200, { "content-type": "application/grpc-web+proto" });
    res.end(Buffer.from(`${message("HI")}\x80\0\0\0\x0fgrpc-status:0\r\n`, "latin1"));
  });
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, CORS_ORIGINS: ORIGIN },
    services: {
      grpc: { baseUrl: grpc.url, http2: true },
      plain: { baseUrl: web.url },
      away: { baseUrl: "http://127.0.0.1:9", retries: 0 },
    },
  });
  return Object.assign(gateway, { received });
}

test("A gRPC call over HTTP/1.1 reaches a gRPC server, and its trailers come back", async () => {
  const gateway = await start();
  const { text } = await rawRequest(
    gateway.port,
    post("/proxy/grpc/test.Texts/Unary", "application/grpc", message("hi"), KEY),
  );
  expect(text).toMatch(/^HTTP\/1\.1 200 /);
  expect(text).toContain(message("HI"));
  expect(text).toMatch(/\r\n0\r\ngrpc-status: 0\r\n/);
  // A response of trailers only has its status in its headers.
  const failed = await rawRequest(
    gateway.port,
    post("/proxy/grpc/test.Texts/No", "application/grpc", message("hi"), KEY),
  );
  expect(failed.head).toMatch(/\r\ngrpc-status: 12\r\n/);
});

test("gRPC to a service over HTTP/1.1 is refused with the setting that allows it", async () => {
  const gateway = await start();
  const { head, body } = await rawRequest(
    gateway.port,
    post("/proxy/plain/a.B/C", "application/grpc+proto", message("hi"), KEY),
  );
  expect(head).toMatch(/^HTTP\/1\.1 200 /);
  expect(head).toContain("\r\nX-Proxy-Error: UNSUPPORTED_MEDIA_TYPE\r\n");
  expect(head).toContain(
    "\r\ngrpc-status: 12\r\ngrpc-message: gRPC needs HTTP/2, and plain is reached by HTTP/1.1.\r\n",
  );
  expect([body, gateway.received]).toEqual(["", []]);
});

test("gRPC-Web passes through a service over HTTP/1.1 byte for byte", async () => {
  const gateway = await start();
  const { body } = await rawRequest(
    gateway.port,
    post("/proxy/plain/a.B/C", "application/grpc-web+proto", message("hi"), KEY),
  );
  expect(gateway.received).toEqual([{ type: "application/grpc-web+proto", body: message("hi") }]);
  expect(body).toContain(`${message("HI")}\x80\0\0\0\x0fgrpc-status:0\r\n`);
});

test.each([
  ["no key", "/proxy/plain/a.B/C", [], 16, "MISSING_CREDENTIALS"],
  ["an unknown service", "/proxy/none/a.B/C", [KEY], 12, "SERVICE_NOT_CONFIGURED"],
  ["an invalid path", "/proxy/plain/a/../b", [KEY], 3, "INVALID_PATH"],
  ["a malformed message", "/proxy/plain/a", [KEY, "Host: twice"], 3, "HOST_HEADER_INVALID"],
  ["an upstream that is away", "/proxy/away/a", [KEY], 14, "UPSTREAM_UNREACHABLE"],
])(
  "A gRPC-Web caller gets %s as headers with HTTP status 200, which a page may read",
  async (_, path, headers, code, error) => {
    const gateway = await start();
    const type = "application/grpc-web-text";
    const { head, body } = await rawRequest(
      gateway.port,
      post(path, type, "AAAAAAA=", ...headers, `Origin: ${ORIGIN}`),
    );
    expect(head).toMatch(/^HTTP\/1\.1 200 /);
    expect(head).toContain(`\r\nContent-Type: ${type}\r\nContent-Length: 0\r\ngrpc-status: ${code}\r\ngrpc-message: `);
    expect(head).toContain(`\r\nX-Proxy-Error: ${error}\r\n`);
    expect(head).toMatch(/\r\nAccess-Control-Expose-Headers: [^\r]*Grpc-Message, Grpc-Status/);
    expect(body).toBe("");
  },
);
