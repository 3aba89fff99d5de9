/** Clients of container registries, such as docker and podman: they ask `/v2/` how to authenticate, and follow the first challenge that they know. */
import { get, type IncomingMessage } from "node:http";
import { expect, test } from "vitest";
import { freePort } from "../support/free-port.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

const SECRET = "robot:secret-of-the-registry-0123456789";
const basic = (pair: string) => `Basic ${Buffer.from(pair).toString("base64")}`;

/** @param challenge of the registry to a request without the right credential. */
async function startRegistry(challenge: string, accepts = basic(SECRET)) {
  const upstream = await startUpstream((req, res) => {
    if (req.headers.authorization !== accepts) return void res.writeHead(401, { "www-authenticate": challenge }).end();
    res.setHeader("docker-distribution-api-version", "registry/2.0").end("{}");
  });
  const port = await freePort();
  const auth = { type: "basic", tokenEnvVar: "REGISTRY_LOGIN" } as const;
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, REGISTRY_LOGIN: SECRET },
    services: { registry: { baseUrl: upstream.url, port, auth } },
  });
  return { upstream, gateway, registry: `http://127.0.0.1:${port}` };
}

/** As a program sends it: Node's fetch adds what browsers add. */
async function ask(url: string, headers: Record<string, string> = {}) {
  const response = await new Promise<IncomingMessage>((resolve, reject) =>
    get(url, { headers }, resolve).on("error", reject),
  );
  response.resume();
  const lines = response.rawHeaders.filter((_, i) => response.rawHeaders[i - 1]?.toLowerCase() === "www-authenticate");
  return { status: response.statusCode ?? 0, challenges: lines };
}

/** Like github.com/containers/image: the check of the API, then each request with what the first challenge wants. */
async function pull(registry: string, login: string): Promise<number> {
  const [first = ""] = (await ask(`${registry}/v2/`)).challenges;
  // A token server; its URL is the realm.
  if (/^bearer/i.test(first) && !/realm="http/.test(first)) throw new Error("missing realm in bearer auth challenge");
  const headers = { authorization: basic(login) };
  const statuses = ["manifests/1", "blobs/sha256:0a"].map(
    async (path) => (await ask(`${registry}/v2/acme/web/${path}`, headers)).status,
  );
  return Math.max(...(await Promise.all(statuses)));
}

test("A client of a registry with Basic pulls through the port of the service with the gateway's key as its password", async () => {
  const { upstream, registry } = await startRegistry('Basic realm="Registry"');
  expect(await pull(registry, `any:${PROXY_KEY}`)).toBe(200);
  expect(await pull(registry, "any:not-a-key-of-the-gateway")).toBe(401);
  expect(upstream.requests.map(({ url }) => url).sort()).toEqual([
    "/v2/acme/web/blobs/sha256:0a",
    "/v2/acme/web/manifests/1",
  ]);
  const received = upstream.requests.flatMap(({ rawHeaders }) => rawHeaders).join("\n");
  expect(received).not.toContain(Buffer.from(`any:${PROXY_KEY}`).toString("base64"));
});

test("The check of a registry's API is offered Basic only, and every other path Bearer too, whatever the service", async () => {
  const { gateway, registry } = await startRegistry('Basic realm="Registry"');
  for (const url of [`${registry}/v2/`, `${gateway.url}/proxy/registry/v2/`, `${gateway.url}/proxy/nope/v2/`])
    expect((await ask(url)).challenges, url).toEqual(['Basic realm="ByteProxy"']);
  for (const url of [`${registry}/v2/acme`, `${registry}/v2/?x`, `${gateway.url}/proxy/registry/v2`])
    expect((await ask(url)).challenges, url).toEqual(["Bearer", 'Basic realm="ByteProxy"']);
  expect((await ask(`${registry}/v2/`, { origin: registry })).challenges).toEqual(["Bearer"]);
});

test("A registry with a token server names the server to the client, so that a client cannot pull through the gateway", async () => {
  const challenge = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"';
  const { upstream, registry } = await startRegistry(challenge, "Bearer a-token-of-the-server");
  expect(await pull(registry, `any:${PROXY_KEY}`)).toBe(401);
  expect(await ask(`${registry}/v2/`, { authorization: basic(`any:${PROXY_KEY}`) })).toEqual({
    status: 401,
    challenges: [challenge],
  });
  expect(upstream.requests.every(({ headers }) => headers.authorization === basic(SECRET))).toBe(true);
});
