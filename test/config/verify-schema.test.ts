/** `access: signature` and `verify` in the services file. */
import { describe, expect, test } from "vitest";
import { KEY, load, problemsOf, services } from "./temp-folder.ts";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

const withVerify = (verify: unknown, more = {}) =>
  services({ x: { baseUrl: "https://api.example.com/", access: "signature", verify, ...more } });
const stripe = { scheme: "stripe", secretEnvVar: "HOOK" };

describe("verify", () => {
  test("A signing secret comes from a variable or a file, and is masked in the configuration", async () => {
    const ofVariable = await load({ ...withVerify(stripe), ".env.local": `HOOK=${SECRET}` });
    const ofFile = await load({ ...withVerify({ scheme: "stripe", secretFile: "hook" }), hook: `${SECRET}\n` });
    for (const config of [ofVariable, ofFile]) {
      expect(config.services.get("x")?.signingSecret?.secrets[0]?.secret?.reveal()).toBe(SECRET);
      expect(JSON.stringify(config)).not.toContain(SECRET);
      expect(config.warnings).toEqual([]);
    }
    expect(ofVariable.services.get("x")?.verify).toEqual({ ...stripe, toleranceSeconds: 300, maxBodyBytes: 1_048_576 });
  });

  test.each([
    [stripe, { access: "public" }, "verify only with access signature"],
    [undefined, {}, "signature only with verify"],
    [stripe, { ws: true }, "false with access signature: a WebSocket has no body to sign"],
    [{ scheme: "stripe" }, {}, "exactly one of secretEnvVar and secretFile"],
    [{ ...stripe, secretFile: "hook" }, {}, "exactly one of secretEnvVar and secretFile"],
    [{ ...stripe, header: "X-Sign" }, {}, "header only for scheme hmac"],
    [{ scheme: "hmac", secretEnvVar: "HOOK" }, {}, "header for scheme hmac"],
    [{ scheme: "hmac", secretEnvVar: "HOOK", header: "X-Forwarded-Sign" }, {}, "a header that the gateway forwards"],
    [{ scheme: "hmac", secretEnvVar: "HOOK", header: "Host" }, {}, "a header that the gateway does not write itself"],
    [{ scheme: "hmac", secretEnvVar: "HOOK", header: "X-Sign", algorithm: "md5" }, {}, "sha1"],
    [{ ...stripe, toleranceSeconds: 0 }, {}, "toleranceSeconds"],
    [{ ...stripe, maxBodyBytes: 16_777_217 }, {}, "maxBodyBytes"],
    [{ ...stripe, secretEnvVar: "PROXY_API_KEY" }, {}, "found the gateway's own PROXY_API_KEY"],
    [{ ...stripe, secretEnvVar: "COPY" }, {}, "a secret that is not one of the gateway's own keys"],
    [{ scheme: "standard-webhooks", secretEnvVar: "HOOK" }, {}, undefined],
    [{ scheme: "standard-webhooks", secretEnvVar: "WORDS" }, {}, "base64 (RFC 4648 section 4)"],
  ])("%j with %j has the problem: %s", async (verify, more, problem) => {
    const env = { PROXY_API_KEY: KEY, COPY: KEY, HOOK: SECRET, WORDS: "not base64!" };
    if (problem === undefined) await load(withVerify(verify, more), env);
    else expect((await problemsOf(withVerify(verify, more), env)).join()).toContain(problem);
  });

  test.each([
    [stripe, "services\\.x\\.verify\\.secretEnvVar: x has no signing secret, because HOOK is not set"],
    [
      { scheme: "stripe", secretFile: "no" },
      "services\\.x\\.verify\\.secretFile: x has no signing secret.*no such file",
    ],
  ])("%j without its secret is a warning", async (verify, words) => {
    const { services: all, warnings } = await load(withVerify(verify));
    expect(all.get("x")?.signingSecret?.secrets[0]?.secret).toBeUndefined();
    expect(warnings).toEqual([expect.stringMatching(words)]);
  });
});
