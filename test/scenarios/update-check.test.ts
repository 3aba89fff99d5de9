/** The check for a newer version: its results, its failures and its limits. */
import { expect, test } from "vitest";
import { createUpdateCheck, isNewer } from "../../src/update-check.ts";
import { version } from "../../src/version.ts";
import { startGateway } from "../support/gateway.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";

async function check(env: Record<string, string>) {
  const gateway = await startGateway({ env });
  const response = await fetch(`${gateway.url}/version/check`);
  expect(response.status).toBe(200);
  return { gateway, body: (await response.json()) as Record<string, unknown> };
}

const unknown = { current: version.version, latest: null, updateAvailable: null };

test("No request is sent without UPDATE_CHECK_URL, or with SKIP_UPDATE_CHECK", async () => {
  const upstream = await startUpstream();
  expect((await check({})).body).toEqual({ ...unknown, checkedAt: null, reason: "UPDATE_CHECK_URL is not set" });
  const env = { SKIP_UPDATE_CHECK: "true", UPDATE_CHECK_URL: upstream.url };
  expect((await check(env)).body).toMatchObject({ ...unknown, reason: "SKIP_UPDATE_CHECK is set" });
  expect(upstream.requests).toEqual([]);
});

test.each([
  ["version", "99.0.0", true],
  ["tag_name", "v99.0.0", true],
  ["version", version.version, false],
])("The latest version is read from the member %s: %s", async (name, text, updateAvailable) => {
  const upstream = await startUpstream((_, res) => res.end(JSON.stringify({ [name]: text, other: 1 })));
  const { gateway, body } = await check({ UPDATE_CHECK_URL: `${upstream.url}/latest?x=1` });
  expect(body).toEqual({
    current: version.version,
    latest: text.replace("v", ""),
    updateAvailable,
    checkedAt: expect.stringMatching(/^\d{4}-/),
  });
  expect(upstream.requests[0]?.url).toBe("/latest?x=1");
  await fetch(`${gateway.url}/version/check`);
  expect(upstream.requests).toHaveLength(1);
});

test.each([
  ["an error", (): [number, string] => [500, "{}"], "the response was 500"],
  ["a redirect", (): [number, string] => [302, "{}"], "the response was 302"],
  ["no JSON", (): [number, string] => [200, "<html>"], "not JSON"],
  ["no version", (): [number, string] => [200, '{"version":"<script>"}'], "contains no version"],
  ["too much", (): [number, string] => [200, `"${"x".repeat(2_000_000)}"`], "too large"],
])("A response with %s leaves the latest version unknown and gives the reason", async (_, respond, reason) => {
  const upstream = await startUpstream((__, res) => {
    const [status, text] = respond();
    res.writeHead(status, { location: "http://127.0.0.1:9/" }).end(text);
  });
  const { body } = await check({ UPDATE_CHECK_URL: upstream.url });
  expect(body).toMatchObject({ ...unknown, reason: expect.stringContaining(reason) });
});

test("An address that is not allowed, or does not accept connections, leaves the latest version unknown", async () => {
  expect((await check({ UPDATE_CHECK_URL: "http://169.254.169.254/" })).body.reason).toMatch(/does not connect/);
  expect((await check({ UPDATE_CHECK_URL: "http://127.0.0.1:9/" })).body.reason).toMatch(/refused the connection/);
});

test("The check runs at most once an hour, once a minute while it fails, and once for simultaneous callers", async () => {
  let clock = 0;
  let asked = 0;
  const bodies: (() => unknown)[] = [];
  const checkForUpdate = createUpdateCheck({
    settings: { SKIP_UPDATE_CHECK: false, UPDATE_CHECK_URL: "http://x/" },
    current: "1.0.0",
    now: () => clock,
    fetchJson: async () => {
      asked += 1;
      return bodies.shift()?.();
    },
  });
  bodies.push(() => {
    throw new Error("down");
  });
  await Promise.all([checkForUpdate(), checkForUpdate()]);
  clock = 59_999;
  expect(await checkForUpdate()).toMatchObject({ latest: null, reason: "the check failed: down" });
  expect(asked).toBe(1);
  clock = 60_000;
  bodies.push(() => ({ version: "2.0.0" }));
  expect(await checkForUpdate()).toMatchObject({ latest: "2.0.0", updateAvailable: true });
  clock = 60_000 + 3_599_999;
  await checkForUpdate();
  expect(asked).toBe(2);
  clock += 1;
  await checkForUpdate();
  expect(asked).toBe(3);
});

test.each([
  ["1.0.1", "1.0.0", true],
  ["1.10.0", "1.9.9", true],
  ["2.0.0", "10.0.0", false],
  ["1.0.0", "1.0.0", false],
  ["1.0.0", "1.0.0-rc.1", true],
  ["1.0.0-rc.2", "1.0.0", false],
])("Version %s counts as newer than version %s: %s", (latest, current, isAfter) => {
  expect(isNewer(latest, current)).toBe(isAfter);
});

test("A response that switches protocols is given up at once", async () => {
  const upstream = await startRawUpstream(
    respondWith("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
  );
  const { body } = await check({ UPDATE_CHECK_URL: upstream.url });
  expect(body).toMatchObject({ ...unknown, reason: expect.stringContaining("switched protocols") });
});
