/** What the upstreams of the built-in services would receive, as explain describes it. */
import { expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

async function start() {
  const gateway = await startGateway({ env: { ...KEYS, DISCORD_TOKEN: "real-bot-token" } });
  return async (path: string, caller = "proxy-key") =>
    (await manage(gateway, "POST", "/explain", { method: "GET", path, caller })).body;
}

test("The discord preset takes paths with and without the version, and with the whole path of the API", async () => {
  const explain = await start();
  for (const [path, url] of [
    ["users/@me", "v10/users/@me"],
    ["v9/users/@me", "v9/users/@me"],
    ["api/v10/users/@me", "v10/users/@me"],
    ["api/v9/users/@me?x=1", "v9/users/@me?x=1"],
    ["api/v8/users/@me", "v8/users/@me"],
    ["api/users/@me", "users/@me"],
    ["api/v10", "v10/"],
    ["api/v1", "v1"],
    ["api//v10/users", "/v10/users"],
    ["apis", "v10/apis"],
  ]) {
    const { upstream } = await explain(`/proxy/discord/${path}`);
    expect([path, upstream.url]).toEqual([path, `https://discord.com/api/${url}`]);
  }
});

test("A permission for a path of the discord preset holds for every spelling of its version", async () => {
  const gateway = await startGateway({ env: { ...KEYS, DISCORD_TOKEN: "real-bot-token" } });
  const permissions = ["discord:GET:/users/**"];
  const { id } = (await manage(gateway, "POST", "/keys", { name: "narrow", permissions })).body;
  for (const [path, code] of [
    ["users/@me", undefined],
    ["api/v10/users/@me", undefined],
    ["api/v10/guilds/1", "INSUFFICIENT_PERMISSIONS"],
    ["api/v8/users/@me", "INSUFFICIENT_PERMISSIONS"],
  ]) {
    const request = { method: "GET", path: `/proxy/discord/${path}`, caller: id };
    expect([path, (await manage(gateway, "POST", "/explain", request)).body.refusal?.code]).toEqual([path, code]);
  }
});

test("The presets of discord and github send a User-Agent of the vendor's form, and github explains /org/", async () => {
  const explain = await start();
  const agentOf = async (key: string) =>
    (await explain(`/proxy/${key}/x`)).upstream.headers.added.find(
      ({ name }: { name: string }) => name === "User-Agent",
    );
  expect(await agentOf("discord")).toMatchObject({
    value: expect.stringMatching(/^DiscordBot \(https:\/\/\S+, [\w.]+\)$/),
  });
  expect(await agentOf("github")).toMatchObject({ value: "ByteProxy/1" });
  expect((await explain("/proxy/github/org/acme")).refusal).toMatchObject({
    code: "INVALID_PATH",
    message: "Invalid GitHub API path",
    hint: "use /orgs/ORG",
  });
  expect((await explain("/proxy/github/orgs/acme")).refusal).toBeNull();
});
