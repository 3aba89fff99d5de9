/** If an upstream refuses the gateway's credential, the operator is informed and the caller gets the response unchanged. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

test("A refused credential is logged once, and counted in /status and /metrics until the credential changes", async () => {
  let status = 200;
  const upstream = await startUpstream((_, res) => res.writeHead(status).end("the upstream's text"));
  const auth = { type: "bearer", tokenEnvVar: "TOKEN" } as const;
  const services = { api: { baseUrl: upstream.url, auth }, plain: { baseUrl: upstream.url } };
  const gateway = await startGateway({ services });
  const useToken = async (token: string) => {
    writeFileSync(join(gateway.directory, ".env"), `TOKEN=${token}`);
    expect(await gateway.reload()).toMatchObject({ isDone: true });
  };
  const ask = async (service: string) => {
    const answer = await fetch(`${gateway.url}/proxy/${service}/`);
    return [answer.status, await answer.text(), answer.headers.get("x-proxy-error")];
  };
  const refusedOf = async (key: string) => {
    const body = (await (await fetch(`${gateway.url}/status`)).json()) as {
      services: { key: string; credential: { refused: unknown } }[];
    };
    return body.services.find((service) => service.key === key)?.credential.refused;
  };
  await useToken("first-token-0123");
  await ask("api");
  expect(await refusedOf("api")).toBeNull();
  for (status of [401, 403, 401]) {
    expect(await ask("api")).toEqual([status, "the upstream's text", null]);
    await ask("plain");
  }
  status = 404;
  await ask("api");
  expect(await refusedOf("api")).toEqual({ count: 3, lastStatus: 401, lastAt: expect.stringMatching(/^\d{4}-/) });
  expect(await refusedOf("plain")).toBeNull();
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  expect(metrics).toMatch(/^byteproxy_credential_refusals_total\{service="api"\} 3$/m);
  expect(metrics).not.toMatch(/credential_refusals_total\{service="plain"/);
  const logged = gateway.lines().filter(({ msg }) => String(msg).includes("to its credential"));
  expect(logged).toEqual([
    expect.objectContaining({ level: 40, service: "api", status: 401, msg: "api responded 401 to its credential" }),
  ]);

  // A change of another member keeps the count. A new token resets it.
  writeFileSync(
    join(gateway.directory, "services.json"),
    JSON.stringify({ services: { ...services, api: { ...services.api, retries: 0 } } }),
  );
  await gateway.reload();
  expect(await refusedOf("api")).toMatchObject({ count: 3 });
  await useToken("second-token-0123");
  expect(await refusedOf("api")).toBeNull();
});

test("A refusal by the gateway itself is not counted as a refused credential", async () => {
  const upstream = await startUpstream();
  const auth = { type: "bearer", tokenEnvVar: "UNSET" } as const;
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, auth } } });
  expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(401);
  const { services } = (await (await fetch(`${gateway.url}/status`)).json()) as { services: unknown[] };
  expect(services).toContainEqual(
    expect.objectContaining({ key: "api", credential: expect.objectContaining({ refused: null }) }),
  );
});

test("The error for an empty token file does not show the caller the path of the file", async () => {
  const upstream = await startUpstream();
  const auth = { type: "bearer", tokenFile: "secrets/of-the-operator" } as const;
  const { url, directory } = await startGateway({ services: { api: { baseUrl: upstream.url, auth } } });
  const text = await (await fetch(`${url}/proxy/api/`)).text();
  expect(text).toContain("UPSTREAM_CREDENTIAL_MISSING");
  expect(text).not.toContain("of-the-operator");
  expect(text).not.toContain(directory);
  expect(upstream.requests).toHaveLength(0);
});
