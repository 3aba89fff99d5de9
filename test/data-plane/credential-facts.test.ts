/** What the headers of responses say about the credential. */
import { expect, test } from "vitest";
import { CredentialFacts } from "../../src/data-plane/credential-facts.ts";

const DAY_MS = 86_400_000;

function open() {
  const clock = { now: 0 };
  const ends: number[] = [];
  const facts = new CredentialFacts({
    isSecret: (text) => text.includes("secret"),
    onEnd: (at) => ends.push(at),
    now: () => clock.now,
  });
  return { facts, clock, ends };
}

const scopes = (granted: string, accepted?: string) => ({
  "x-oauth-scopes": granted,
  ...(accepted === undefined ? {} : { "x-accepted-oauth-scopes": accepted }),
});

/** Enough responses, and enough time. */
function readMany({ facts, clock }: ReturnType<typeof open>, headers: readonly Record<string, string>[]): void {
  for (let at = 0; at < 1_000; at++) facts.read(headers[at % headers.length] ?? {});
  clock.now = DAY_MS;
}

test("Of an upstream that says nothing, one response in 64 is read after the first ones, and each one once it says something", () => {
  const { facts } = open();
  const skips = Array.from({ length: 16 }, () => facts.read({ "content-type": "text/plain" }));
  expect(skips).toEqual([...Array.from({ length: 15 }, () => 0), 63]);
  expect(facts.read(scopes("repo"))).toBe(0);
  expect(facts.read({})).toBe(0);
});

test.each([
  ["2026-12-31 23:59:59 UTC", "2026-12-31T23:59:59.000Z"],
  ["2026-12-31 23:59:59 -0730", "2027-01-01T07:29:59.000Z"],
])("The end %s is %s", (text, at) => {
  const { facts, ends } = open();
  for (let read = 0; read < 3; read++) facts.read({ "github-authentication-token-expiration": text });
  expect(ends).toEqual([Date.parse(at)]);
});

test.each(["tomorrow", "2026-13-40 23:59:59 UTC", "2026-12-31", `2026-12-31 23:59:59 UTC${" ".repeat(9)}`])(
  "The end %j is none",
  (text) => {
    const { facts, ends } = open();
    facts.read({ "github-authentication-token-expiration": text });
    expect(ends).toEqual([]);
  },
);

test("Scopes that no response asked for are named after 1,000 responses and a day, and not before", () => {
  const subject = open();
  const seen = [scopes("repo, admin:org, user, gist", "repo"), scopes("repo, admin:org, user, gist", "read:org")];
  readMany(subject, seen);
  subject.clock.now = DAY_MS - 1;
  expect(subject.facts.describe()).toMatchObject({ unneeded: undefined, responses: 1_000 });
  subject.clock.now = DAY_MS;
  expect(subject.facts.describe()?.unneeded).toEqual(["user", "gist"]);
  const early = open();
  early.facts.read(seen[0] ?? {});
  early.clock.now = DAY_MS;
  expect(early.facts.describe()).toMatchObject({ granted: ["repo", "admin:org", "user", "gist"], unneeded: undefined });
});

test.each([
  ["repo, gist", "repo:status", ["gist"]],
  ["repo, gist", "public_repo", ["gist"]],
  ["user, gist", "user:email, user", ["gist"]],
  ["chat:write,channels:read", "chat:write", ["channels:read"]],
  // No name says which of the scopes covers it.
  ["repo, gist", "workflow", undefined],
  ["read:org, gist", "admin:org", undefined],
])("With the scopes %s, requests for %s leave %o", (granted, accepted, unneeded) => {
  const subject = open();
  readMany(subject, [scopes(granted, accepted), scopes(granted, ""), scopes(granted)]);
  expect(subject.facts.describe()?.unneeded).toEqual(unneeded);
});

test("A list of scopes with a secret is not kept, nor is a text that is no scope", () => {
  const { facts } = open();
  facts.read(scopes("repo, the-secret"));
  expect(facts.describe()).toBeUndefined();
  facts.read(scopes("repo, <b>, a\u0001b, ok"));
  expect(facts.describe()?.granted).toEqual(["repo", "ok"]);
});

test("An upstream that names ever other scopes fills no memory", () => {
  const subject = open();
  readMany(
    subject,
    Array.from({ length: 1_000 }, (_, at) => scopes("repo, gist", `repo, x${at}`)),
  );
  expect(subject.facts.describe()?.unneeded).toBeUndefined();
  subject.facts.read(scopes(Array.from({ length: 1_000 }, (_, at) => `s${at}`).join(",")));
  expect(subject.facts.describe()?.granted).toHaveLength(100);
});
