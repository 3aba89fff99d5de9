/** The `ws` member of a service: what is allowed, and what the message says about everything else. */
import { describe, expect, test } from "vitest";
import { describeMessageRule, messageRuleOf } from "../../src/config/ws-schema.ts";
import { problemsOf, services } from "./temp-folder.ts";

const BEARER = { type: "bearer", tokenEnvVar: "TOKEN" };
const CUSTOM = { type: "custom", secrets: { t: { envVar: "TOKEN" }, u: { envVar: "TOKEN" } } };

const problems = (ws: unknown, more: object = { auth: BEARER }) =>
  problemsOf(services({ x: { baseUrl: "https://api.example.com/", ws, ...more } }), { TOKEN: "abcdefghijkl" });

const inject = (rule: unknown) => ({ inject: rule });

describe("ws", () => {
  test.each([
    true,
    false,
    inject("discord-identify"),
    inject({ path: "token" }),
    inject({ match: {}, path: "a.0.b" }),
    inject({ match: { op: [2, 6], "d.kind": "auth", ok: true }, path: "d.token" }),
  ])("%j is allowed", async (ws) => {
    expect(await problems(ws)).toEqual([]);
  });

  test.each([
    ["yes", "x.ws: found"],
    [{}, "x.ws.inject: missing"],
    [inject(true), "x.ws.inject: found"],
    [inject("discord"), "x.ws.inject: found"],
    [inject({}), "x.ws.inject.path: missing"],
    [inject({ path: "" }), "x.ws.inject.path"],
    [inject({ path: "a..b" }), "x.ws.inject.path"],
    [inject({ path: ".a" }), "x.ws.inject.path"],
    [inject({ path: Array(17).fill("a").join(".") }), "at most 16 names"],
    [inject({ path: "a", match: { op: [] } }), "x.ws.inject.match.op"],
    [inject({ path: "a", match: { op: { a: 1 } } }), "x.ws.inject.match.op"],
    [inject({ path: "a", match: { "": 1 } }), "x.ws.inject.match"],
    [inject({ path: "a", mach: { op: 1 } }), 'did you mean "match"?'],
  ])("%j is refused with %s", async (ws, message) => {
    const found = await problems(ws);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(message);
  });

  test("inject needs a credential, which may be of secrets without another place", async () => {
    const discord = inject("discord-identify");
    expect(await problems(discord, {})).toEqual([expect.stringContaining("inject only with auth")]);
    expect(await problems(discord, { auth: CUSTOM })).toEqual([]);
    expect(await problems(discord, { auth: { ...CUSTOM, query: { t: "{t}" } } })).toEqual([]);
    for (const ws of [true, false]) {
      expect(await problems(ws, { auth: CUSTOM })).toEqual([expect.stringContaining("at least one of headers")]);
    }
  });

  test("discord-identify and the rule that it is short for are the same rule", () => {
    const rule = { match: { op: [2, 6] }, path: "d.token" };
    expect(messageRuleOf(inject("discord-identify") as never)).toEqual(messageRuleOf({ inject: rule }));
    expect(messageRuleOf(true)).toBeUndefined();
    const two = messageRuleOf({ inject: { match: { b: [1], a: "x" }, path: "p" } });
    expect(two && describeMessageRule(two)).toBe('p where a is "x" and b is 1');
  });
});
