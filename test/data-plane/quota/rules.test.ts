/** The rules for Discord's, GitHub's and other upstreams' limits beyond their headers. */
import { describe, expect, test } from "vitest";
import { discordRules } from "../../../src/data-plane/quota/discord.ts";
import { githubRules } from "../../../src/data-plane/quota/github.ts";
import { type ResponseHeaders, readQuota } from "../../../src/data-plane/quota/read-quota.ts";
import { genericRules, hashedName, type QuotaRules } from "../../../src/data-plane/quota/rules.ts";

const NOW = 1_800_000_000_000;
const closure = (rules: QuotaRules, status: number, headers: ResponseHeaders) => {
  const found = rules.closureOf(status, readQuota(headers, NOW), NOW);
  return found && [found.of, found.until - NOW, found.isGuess];
};
const costs = (rules: QuotaRules, method: string, path: string) =>
  Object.fromEntries(rules.paces.map(({ name, costOf }) => [name, costOf(method, path)]));

/** A refusal for ten minutes, with so many points left in its bucket. */
const left = (remaining: string) => ({
  "retry-after": "600",
  "x-ratelimit-limit": "5",
  "x-ratelimit-remaining": remaining,
  "x-ratelimit-reset-after": "1.000",
});

const INTERACTION_TOKEN = "aW50ZXJhY3Rpb246".repeat(8);
const WEBHOOK_TOKEN = "w".repeat(68);

describe("Discord", () => {
  test.each([
    ["GET", "/channels/12/messages", "GET /channels/:id/messages", "12"],
    ["GET", "/api/v10/channels/12/messages", "GET /channels/:id/messages", "12"],
    ["DELETE", "/channels/12/messages/34", "DELETE /channels/:id/messages/:id", "12"],
    [
      "PUT",
      "/channels/1/messages/2/reactions/%F0%9F%98%80/@me",
      "PUT /channels/:id/messages/:id/reactions/:reaction",
      "1",
    ],
    ["GET", "/guilds/5/members/6", "GET /guilds/:id/members/:id", "5"],
    ["POST", `/webhooks/7/${WEBHOOK_TOKEN}`, "POST /webhooks/:id/:token", `7/${hashedName(WEBHOOK_TOKEN)}`],
    [
      "POST",
      `/interactions/8/${INTERACTION_TOKEN}/callback`,
      "POST /interactions/:id/:token/callback",
      `8/${hashedName(INTERACTION_TOKEN)}`,
    ],
    ["POST", `//webhooks/7/${WEBHOOK_TOKEN}`, "POST //webhooks/:id/:other", ""],
    ["POST", `/%77ebhooks/7/%53${WEBHOOK_TOKEN}`, "POST /:other/:id/:other", ""],
    ["GET", "/users/@me", "GET /users/@me", ""],
    ["GET", "/users/99", "GET /users/:id", ""],
  ])("%s %s is counted by its route and by its channel, guild, webhook or interaction", (method, path, name, major) => {
    expect(discordRules.routeOf(method, path)).toEqual({ name, major });
    // It is stored on disk, and shown.
    expect(JSON.stringify({ name, major })).not.toMatch(/w{20}|aW50/);
  });

  test.each([
    ["/channels/12/messages", 1],
    [`/webhooks/7/${WEBHOOK_TOKEN}`, 1],
    [`/interactions/8/${INTERACTION_TOKEN}/callback`, 0],
    [`/api/v10/webhooks/8/${INTERACTION_TOKEN}/messages/@original`, 0],
  ])("A POST to %s costs %i of the global limit", (path, cost) => {
    expect(costs(discordRules, "POST", path)).toEqual({ global: cost });
  });

  test.each([
    [
      "The refusal of a bucket closes the bucket",
      { "retry-after": "2", "x-ratelimit-scope": "user" },
      ["bucket", 3_000, false],
    ],
    [
      "The refusal of a shared bucket closes the bucket",
      { "retry-after": "2", "x-ratelimit-scope": "shared" },
      ["bucket", 3_000, false],
    ],
    [
      "A global refusal closes all buckets",
      { "retry-after": "2", "x-ratelimit-global": "true" },
      ["all", 3_000, false],
    ],
    ["A refusal without a time closes the bucket for a guessed time", {}, ["bucket", 1_000, true]],
    ["The refusal of a sublimit, which leaves points in the bucket, closes nothing", left("4"), undefined],
    ["A refusal that leaves no point closes the bucket", left("0"), ["bucket", 601_000, false]],
    [
      "A global refusal closes all buckets, whatever is left",
      { ...left("4"), "x-ratelimit-global": "true" },
      ["all", 601_000, false],
    ],
  ])("%s", (_, headers, expected) => {
    expect(closure(discordRules, 429, headers)).toEqual(expected);
  });

  test.each([
    [401, undefined, true],
    [403, undefined, true],
    [429, "user", true],
    [429, "global", true],
    [429, "shared", false],
    [404, undefined, false],
    [200, undefined, false],
  ])("A response with %i and scope %s counts towards the ban: %s", (status, scope, counts) => {
    expect(discordRules.refusals?.counts(status, scope)).toBe(counts);
  });
});

describe("GitHub", () => {
  test.each([
    ["/repos/o/r", "core"],
    ["/search/issues", "search"],
    ["/search/code", "code_search"],
    ["/graphql", "graphql"],
    ["/api/graphql", "graphql"],
    ["/api/v3/search/users", "search"],
    ["/searches", "core"],
  ])("A GET of %s is counted as %s, the name in the responses", (path, name) => {
    expect(githubRules.routeOf("GET", path)).toEqual({ name, major: "" });
  });

  const none = { changes: 0, content: 0, points: 0, "graphql points": 0 };
  test.each([
    ["GET", "/repos/o/r", { ...none, points: 1 }],
    ["HEAD", "/repos/o/r", { ...none, points: 1 }],
    ["PATCH", "/repos/o/r", { ...none, changes: 1, points: 5 }],
    ["POST", "/repos/o/r/issues/1/comments", { ...none, changes: 1, content: 1, points: 5 }],
    ["POST", "/repos/o/r/check-runs", { ...none, changes: 1, points: 5 }],
    ["POST", "/repos/o/r/statuses/abc", { ...none, changes: 1, points: 5 }],
    ["POST", "/graphql", { ...none, "graphql points": 5 }],
  ])("%s %s has the documented cost of the secondary limits", (method, path, expected) => {
    expect(costs(githubRules, method, path)).toEqual(expected);
  });

  const primary = {
    "x-ratelimit-limit": "5000",
    "x-ratelimit-remaining": "0",
    "x-ratelimit-reset": String(NOW / 1_000 + 60),
  };
  test.each([
    ["A 403 for missing permissions closes nothing", 403, {}, undefined],
    ["A 403 with quota left closes nothing", 403, { ...primary, "x-ratelimit-remaining": "9" }, undefined],
    ["A 403 with nothing left closes the resource", 403, primary, ["bucket", 61_000, false]],
    ["A 429 with nothing left closes the resource", 429, primary, ["bucket", 61_000, false]],
    ["A secondary limit closes all resources", 403, { ...primary, "retry-after": "30" }, ["all", 31_000, false]],
    ["A 429 without a time closes all resources for a minute", 429, {}, ["all", 60_000, true]],
    ["A 404 closes nothing", 404, primary, undefined],
  ])("%s", (_, status, headers, expected) => {
    expect(closure(githubRules, status, headers)).toEqual(expected);
  });
});

describe("Other upstreams", () => {
  const past = {
    "x-ratelimit-limit": "5",
    "x-ratelimit-remaining": "0",
    "x-ratelimit-reset": String(NOW / 1_000 - 60),
  };
  test.each([
    ["A reset in the past is ignored", past, ["bucket", 1_000, true]],
    [
      "A Retry-After in a year is ignored",
      { "retry-after": String(NOW / 1_000 + 400 * 86_400) },
      ["bucket", 1_000, true],
    ],
    [
      "The latest reset of the exhausted windows counts",
      {
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "5s",
        "x-ratelimit-limit-tokens": "5",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "9s",
      },
      ["bucket", 9_001, false],
    ],
  ])("%s", (_, headers, expected) => {
    expect(closure(genericRules, 429, headers)).toEqual(expected);
  });
});
