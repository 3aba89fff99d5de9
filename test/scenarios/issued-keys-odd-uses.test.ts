/** Issued keys where they are not needed, in numbers, at their edges, and as JSON that is not what it seems. */
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";

const env = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

async function issue(gateway: TestGateway, permissions: string[], more: object = {}) {
  const { status, body } = await manage(gateway, "POST", "/keys", { name: "ci", permissions, ...more });
  expect(status, JSON.stringify(body)).toBe(201);
  return body as { id: string; key: string };
}

describe("a public service", () => {
  test("is open to a key that may do nothing there, as it is to nobody in particular", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({ env, services: { open: { baseUrl: upstream.url, access: "public" } } });
    const other = await issue(gateway, ["other:read"]);
    const elsewhere = await issue(gateway, ["open:read"], { allowIps: ["192.0.2.1"] });
    const ended = await issue(gateway, ["open:read"]);
    await manage(gateway, "DELETE", `/keys/${ended.id}`);
    for (const key of [other.key, elsewhere.key, ended.key, `${other.key}x`, MANAGEMENT_KEY, ""]) {
      const answer = await fetch(`${gateway.url}/proxy/open/x`, { method: "POST", headers: { "x-api-key": key } });
      expect(answer.status).toBe(200);
    }
    expect(gateway.exchanges().map(({ caller }) => caller)).toEqual([
      ...[other.id, elsewhere.id, "anonymous", "anonymous", "anonymous", "anonymous"],
    ]);
    const { body } = await manage(gateway, "POST", "/explain", {
      method: "GET",
      path: "/proxy/open/x",
      caller: other.id,
    });
    expect(body).toMatchObject({ verdict: "forward" });
  });
});
