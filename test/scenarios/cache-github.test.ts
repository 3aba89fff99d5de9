/** Octokit through the github preset: the cache spares the quota of a client that knows nothing of ETags. */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Octokit } from "octokit";
import { expect, test } from "vitest";
import { PRESETS } from "../../src/config/presets.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";

/** ETags depend on the token, a 304 costs no point, and every response says what is left: as docs.github.com describes it. */
async function startGitHub() {
  const state = { used: 0, refusedTokens: new Set<string>() };
  const upstream = await startUpstream((req, res) => {
    const body = JSON.stringify({ id: 1, name: req.url });
    const tag = `W/"${createHash("sha256").update(`${req.headers.authorization} ${body}`).digest("hex")}"`;
    const isSame = req.headers["if-none-match"] === tag;
    if (!isSame) state.used++;
    res.writeHead(isSame ? 304 : 200, {
      "content-type": "application/json; charset=utf-8",
      etag: tag,
      "cache-control": "private, max-age=60, s-maxage=60",
      vary: "Accept, Authorization, Cookie, X-GitHub-OTP, Accept-Encoding, Accept, X-Requested-With",
      "x-ratelimit-limit": "5000",
      "x-ratelimit-remaining": String(5_000 - state.used),
      "x-ratelimit-used": String(state.used),
      "x-ratelimit-reset": String(Math.floor(Date.now() / 1_000) + 3_600),
      "x-ratelimit-resource": "core",
      link: `<http://${req.headers.host}/repositories/1/issues?page=2>; rel="next"`,
    });
    res.end(isSame ? undefined : body);
  });
  return { state, upstream };
}

test("The second run of an Octokit program costs no point, and a new token costs one for each URL", async () => {
  const { state, upstream } = await startGitHub();
  const { auth: _, ...preset } = PRESETS.github ?? {};
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY, GITHUB_TOKEN: "" },
    services: { github: { ...preset, baseUrl: upstream.url, auth: { type: "bearer", tokenFile: "github.token" } } },
  });
  const useToken = async (token: string) => {
    writeFileSync(join(gateway.directory, "github.token"), token, { mode: 0o600 });
    expect((await gateway.reload()).isDone).toBe(true);
  };
  /** Each run is a program of its own: nothing is remembered between them. */
  const run = async () => {
    const baseUrl = `${gateway.url}/proxy/github`;
    const octokit = new Octokit({ auth: PROXY_KEY, baseUrl, throttle: { enabled: false }, retry: { enabled: false } });
    const states = new Set<unknown>();
    for (const repo of ["a", "b", "c"]) {
      const { status, headers, data } = await octokit.rest.repos.get({ owner: "o", repo });
      expect([status, data.name]).toEqual([200, `/repos/o/${repo}`]);
      expect(headers.link).toContain(`${baseUrl}/repositories/1/issues?page=2`);
      states.add(headers["x-proxy-cache"]);
    }
    return [...states];
  };
  await useToken("first-token-of-github");
  expect(await run()).toEqual(["miss"]);
  expect(state.used).toBe(3);
  expect(await run()).toEqual(["revalidated"]);
  expect(state.used).toBe(3);
  const { body } = await manage(gateway, "GET", "/quota");
  expect(JSON.stringify(body)).toContain('"remaining":4997');
  await useToken("second-token-of-github");
  expect(await run()).toEqual(["miss"]);
  expect(state.used).toBe(6);
  expect(await run()).toEqual(["revalidated"]);
  expect(state.used).toBe(6);
  // A client with its own copy learns that it is current, at no cost either.
  const asked = { method: "GET", headers: { "x-api-key": PROXY_KEY, "if-none-match": `W/"unknown"` } };
  expect((await fetch(`${gateway.url}/proxy/github/repos/o/a`, asked)).status).toBe(200);
});
