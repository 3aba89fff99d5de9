/** Refresh tokens that the token endpoint rotates: each is sent once, and the newest one is never lost. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { createMemoryStores } from "../../src/stores/open-stores.ts";
import { createRecords } from "../../src/stores/records.ts";
import type { StoredRefreshToken } from "../../src/stores/stored-refresh-token.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { refuseToken, startTokenEndpoint, type TokenRequest } from "../support/token-endpoint.ts";
import { startUpstream } from "../support/upstream.ts";

const env = {
  EGRESS_ALLOW_PRIVATE: "true",
  MANAGEMENT_API_KEY: MANAGEMENT_KEY,
  REFRESH_TOKEN: "refresh-0-of-the-user",
};
const manage = { authorization: `Bearer ${MANAGEMENT_KEY}` };

function authOf(tokenUrl: string, more: object = {}): NonNullable<ServiceInput["auth"]> {
  const client = { tokenUrl, clientId: "the-client", clientAuth: "none", refreshTokenEnvVar: "REFRESH_TOKEN" } as const;
  return { type: "oauth2", grant: "refresh_token", ...client, ...more };
}

/** Accepts each refresh token once. @param respond changes the response, or delays it. */
async function startRotating(respond: (body: object, count: number) => unknown = (body) => body) {
  let valid = "refresh-0-of-the-user";
  const endpoint = await startTokenEndpoint((request, count, res) => {
    if (request.form.get("refresh_token") !== valid) return refuseToken(res, 400, { error: "invalid_grant" });
    valid = `refresh-${count}-of-the-user`;
    const token = { access_token: `token-${count}-of-the-user`, token_type: "bearer", expires_in: 3_600 };
    return respond({ ...token, refresh_token: valid }, count);
  });
  const sent = () => endpoint.requests.map(({ form }: TokenRequest) => form.get("refresh_token"));
  return { ...endpoint, sent };
}

function createGate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Shows the Authorization header that it got. */
const startVendor = () => startUpstream((req, res) => res.end(`got ${req.headers.authorization?.length}`));

function storesThat(persist: () => Promise<void>) {
  const credentials = createRecords<StoredRefreshToken>(persist);
  return { stores: { ...createMemoryStores<never, never, never>(), credentials } as never, credentials };
}

const storedIn = ({ entries }: { entries: ReadonlyMap<string, { value: StoredRefreshToken }> }) =>
  [...entries.values()].map(({ value }) => value.token);

test("Services that send the same refresh token for other scopes send it one after the other", async () => {
  const endpoint = await startRotating();
  const vendor = await startVendor();
  const scopes = ["read", "write", "admin"];
  const services = scopes.map((scope) => [scope, { baseUrl: vendor.url, auth: authOf(endpoint.url, { scope }) }]);
  const { url } = await startGateway({ env, services: Object.fromEntries(services) });
  const responses = await Promise.all(scopes.map((scope) => fetch(`${url}/proxy/${scope}/x`)));
  expect(responses.map(({ status }) => status)).toEqual([200, 200, 200]);
  expect(endpoint.sent()).toEqual(["refresh-0-of-the-user", "refresh-1-of-the-user", "refresh-2-of-the-user"]);
});

test("A reload that changes the scope during a fetch waits for the rotated token of that fetch", async () => {
  const gate = createGate();
  const endpoint = await startRotating(async (body, count) => {
    if (count === 1) await gate.opened;
    return body;
  });
  const vendor = await startVendor();
  const serve = (scope: string) => ({ api: { baseUrl: vendor.url, auth: authOf(endpoint.url, { scope }) } });
  const { url, reload, directory } = await startGateway({ env, services: serve("read") });
  const first = fetch(`${url}/proxy/api/x`);
  await eventually(() => endpoint.requests.length === 1, "the first fetch");
  writeFileSync(join(directory, "services.json"), JSON.stringify({ services: serve("write") }));
  expect(await reload()).toMatchObject({ isDone: true, changed: ["api"] });
  const second = fetch(`${url}/proxy/api/x`);
  await eventually(async () => {
    const metrics = await (await fetch(`${url}/metrics`, { headers: manage })).text();
    return /in_flight\{service="api"\} 2\n/.test(metrics);
  }, "the second request");
  gate.open();
  expect([(await first).status, (await second).status]).toEqual([200, 200]);
  expect(endpoint.sent()).toEqual(["refresh-0-of-the-user", "refresh-1-of-the-user"]);
  expect(endpoint.requests.map(({ form }) => form.get("scope"))).toEqual(["read", "write"]);
});

test("The end of the gateway waits for a fetch that may give another refresh token, and stores it", async () => {
  const gate = createGate();
  const endpoint = await startRotating(async (body) => {
    await gate.opened;
    return body;
  });
  const vendor = await startVendor();
  let isOpen = true;
  const { stores, credentials } = storesThat(async () => {
    if (!isOpen) throw new Error("the stores are closed");
  });
  const closeStores = (stores as { close(): Promise<void> }).close;
  const gateway = await startGateway({
    env,
    services: { api: { baseUrl: vendor.url, auth: authOf(endpoint.url), timeoutMs: 200 } },
    stores: Object.assign(stores, {
      async close() {
        isOpen = false;
        await closeStores();
      },
    }),
  });
  expect((await fetch(`${gateway.url}/proxy/api/x`)).status).toBe(502);
  const closed = gateway.close();
  gate.open();
  await closed;
  expect(storedIn(credentials)).toEqual(["refresh-1-of-the-user"]);
});

test("While a rotated token cannot be stored, the endpoint is asked for no other one; it is stored before an access token is used", async () => {
  const endpoint = await startTokenEndpoint((_, count) => ({
    ...(count === 1 ? { refresh_token: "refresh-1-of-the-user" } : {}),
    ...{ access_token: `token-${count}-of-the-user`, token_type: "bearer" },
  }));
  const vendor = await startVendor();
  let isFull = true;
  const { stores, credentials } = storesThat(async () => {
    if (isFull) throw new Error("the disk is full");
  });
  const services = { api: { baseUrl: vendor.url, auth: authOf(endpoint.url) } };
  const { url } = await startGateway({ env, services, stores });
  const refresh = async () =>
    (await fetch(`${url}/manage/services/api/credential/refresh`, { method: "POST", headers: manage })).status;
  expect([await refresh(), await refresh()]).toEqual([502, 502]);
  expect((await fetch(`${url}/proxy/api/x`)).status).toBe(502);
  expect(endpoint.requests).toHaveLength(1);
  isFull = false;
  expect(await refresh()).toBe(204);
  expect(storedIn(credentials)).toEqual(["refresh-1-of-the-user"]);
  expect(endpoint.requests[1]?.form.get("refresh_token")).toBe("refresh-1-of-the-user");
});

test("A rotated token that could not be stored is stored at the end of the gateway, if there is space again", async () => {
  const endpoint = await startRotating();
  const vendor = await startVendor();
  let isFull = true;
  const { stores, credentials } = storesThat(async () => {
    if (isFull) throw new Error("the disk is full");
  });
  const services = { api: { baseUrl: vendor.url, auth: authOf(endpoint.url) } };
  const gateway = await startGateway({ env, services, stores });
  expect((await fetch(`${gateway.url}/proxy/api/x`)).status).toBe(502);
  isFull = false;
  await gateway.close();
  expect(storedIn(credentials)).toEqual(["refresh-1-of-the-user"]);
});

test.each([
  ["an access token of another type", { token_type: "mac" }],
  ["an access token that a header cannot carry", { access_token: "to\nken" }],
  ["an end that is no number", { expires_in: "soon" }],
  ["no access token", { access_token: undefined }],
])("A rotated token is kept when it comes with %s", async (_, change) => {
  const endpoint = await startRotating((body, count) => (count === 1 ? { ...body, ...change } : body));
  const vendor = await startVendor();
  const { stores, credentials } = storesThat(async () => {});
  const services = { api: { baseUrl: vendor.url, auth: authOf(endpoint.url) } };
  const { url, reload } = await startGateway({ env, services, stores });
  expect((await fetch(`${url}/proxy/api/x`)).status).toBe(502);
  expect(storedIn(credentials)).toEqual(["refresh-1-of-the-user"]);
  await reload();
  expect((await fetch(`${url}/proxy/api/x`)).status).toBe(200);
});
