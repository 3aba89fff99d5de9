/** Uses secrets everywhere, then searches everything that the gateway writes for them. */
import { expect, test } from "vitest";
import { loadConfig } from "../../src/config/load-config.ts";
import { startLines } from "../../src/start/describe-start.ts";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";

const SECRETS = {
  PROXY_API_KEY: "PLANTED-proxy-key-77f1c2",
  MANAGEMENT_API_KEY: "PLANTED-management-key-a01b",
  TOKEN: "PLANTED+upstream/token=93d4",
  BASIC: "PLANTED-user:PLANTED-password-5e",
  AWS_ID: "PLANTEDKEYID22B1",
  AWS_SECRET: "PLANTED/secret+access=key-0f",
  AWS_SESSION: "PLANTED//session+token==4d",
} as const;
const CALLERS_OWN = "PLANTED-of-the-callers-c8";
const WRONG = "PLANTED-wrong-key-of-somebody";

/** Each secret in every encoding of the wire. */
const spellings = [...Object.values(SECRETS), CALLERS_OWN, WRONG].flatMap((secret) => [
  secret,
  encodeURIComponent(secret),
  Buffer.from(secret).toString("base64"),
  ...secret.split(":"),
]);

function expectNoSecret(text: string, where: string): void {
  expect(
    spellings.filter((spelling) => text.includes(spelling)),
    where,
  ).toEqual([]);
  expect(text, where).not.toContain("PLANTED");
}

test("No log line, gateway response or start-up text ever contains a secret, at trace level, in any situation", async () => {
  const good = await startUpstream();
  const cut = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "end"));
  const garbage = await startRawUpstream(respondWith("SSH-2.0\r\n\r\n"));
  const silent = await startRawUpstream(() => {});
  const auth = { type: "bearer", tokenEnvVar: "TOKEN" } as const;
  const common = { auth, retries: 0, timeoutMs: 100 };
  const aws = {
    ...{ type: "aws-sigv4" as const, region: "eu-central-1", service: "s3", maxSignedBodyBytes: 1 },
    ...{ accessKeyIdEnvVar: "AWS_ID", secretAccessKeyEnvVar: "AWS_SECRET", sessionTokenEnvVar: "AWS_SESSION" },
  };
  const hmac = {
    ...{ type: "custom" as const, secrets: { key: { envVar: "AWS_SECRET" } }, query: { signature: "{signature}" } },
    sign: { secret: "key", message: "{query}{body}{key}" },
  };
  const services = {
    good: { baseUrl: good.url, ...common },
    limited: { baseUrl: good.url, ...common, rateLimit: { maxRequests: 1, windowMs: 60_000 } },
    query: { ...common, baseUrl: garbage.url, auth: { type: "api-key", queryParam: "key", tokenEnvVar: "TOKEN" } },
    basic: { ...common, baseUrl: "http://127.0.0.1:1", auth: { type: "basic", tokenEnvVar: "BASIC" } },
    cut: { baseUrl: cut.url, ...common },
    silent: { baseUrl: silent.url, ...common },
    missing: { baseUrl: good.url, auth: { type: "bearer", tokenEnvVar: "NOT_SET" } },
    echo: { auth },
    aws: { ...common, baseUrl: good.url, auth: aws },
    "aws-cut": { ...common, baseUrl: cut.url, auth: aws },
    hmac: { ...common, baseUrl: garbage.url, auth: hmac },
  } as const;
  const env = { ...SECRETS, LOG_LEVEL: "trace" };
  const gateway = await startGateway({ env, services });

  const requests = [
    "good",
    "limited",
    "limited",
    "query",
    "basic",
    "cut",
    "silent",
    "missing",
    "echo",
    "aws",
    "aws-cut",
    "hmac",
    "nope",
    "__proto__",
  ].flatMap((key) => [
    `GET /proxy/${key}/a?token=${CALLERS_OWN}&${CALLERS_OWN}&api_key=${SECRETS.PROXY_API_KEY}`,
    `GET /proxy/${key}/a?api_key=${WRONG}`,
    `POST /proxy/${key}/%zz?x=${CALLERS_OWN}`,
    `TRACE /proxy/${key}/?x=${CALLERS_OWN}`,
  ]);
  requests.push(
    `GET /proxy/services?api_key=${WRONG}`,
    `GET /manage/x?api_key=${SECRETS.PROXY_API_KEY}`,
    `GET /nope?api_key=${SECRETS.MANAGEMENT_API_KEY}`,
    `GET /proxy/auth-test?api_key=${SECRETS.PROXY_API_KEY}`,
    `BROKEN ${SECRETS.TOKEN}`,
  );
  const headers = [
    "Host: localhost",
    `Authorization: Bearer ${WRONG}`,
    `Authorization: AWS4-HMAC-SHA256 Credential=${WRONG}/20261130/r/s3/aws4_request, SignedHeaders=host, Signature=${WRONG}`,
    `X-Amz-Security-Token: ${CALLERS_OWN}`,
    `x-api-key: ${SECRETS.PROXY_API_KEY}`,
    `Cookie: session=${CALLERS_OWN}`,
    `X-Custom: ${CALLERS_OWN}`,
    `traceparent: ${CALLERS_OWN}`,
    `X-Request-Id: "${CALLERS_OWN}"`,
    "Connection: close",
  ].join("\r\n");
  for (const request of requests) {
    for (const head of [
      headers,
      headers.replace(/x-api-key: .*\r\n/, ""),
      headers.replace("Host: localhost", "Host: a b"),
    ]) {
      const response = await rawRequest(gateway.port, `${request} HTTP/1.1\r\n${head}\r\n\r\n`, { withinMs: 1_000 });
      // The echo service shows the caller what the caller sent, and must not show the injected credential.
      const isEcho = request.includes("/proxy/echo/") && response.status === 200;
      if (isEcho) expect(response.text).not.toContain(SECRETS.TOKEN);
      else expectNoSecret(response.text, request);
    }
  }
  expect(gateway.exchanges().length).toBeGreaterThan(100);
  expectNoSecret(gateway.logText(), "the log");

  const config = await loadConfig({ processEnv: env, directory: "/nonexistent" });
  expectNoSecret(
    [...startLines({ config, services: [...config.services.values()], url: gateway.url }), ...config.warnings].join(
      "\n",
    ),
    "the start-up text",
  );
  expectNoSecret(JSON.stringify(config.settings), "the settings");
});

test("A gateway key that a caller put into a path by mistake is masked", async () => {
  const gateway = await startGateway({ env: { ...SECRETS } });
  await rawRequest(
    gateway.port,
    `GET /proxy/${SECRETS.PROXY_API_KEY}/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
  );
  expectNoSecret(gateway.logText(), "the log");
});
