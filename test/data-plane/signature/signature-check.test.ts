/** Signatures as the vendors document them, and malformed ones. */
import { createHmac } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Service } from "../../../src/config/schema.ts";
import { Secret } from "../../../src/config/secret.ts";
import { unusableSigningSecret } from "../../../src/config/signing-secret.ts";
import { verifySchema } from "../../../src/config/verify-schema.ts";
import { createSignatureCheck, type SignatureCheck } from "../../../src/data-plane/signature/signature-check.ts";

const BODY = "the body";
const NOW = 1_700_000_000;

function checkFor(verify: Record<string, unknown>, secret: string | undefined = "secret"): SignatureCheck {
  const service = {
    key: "hook",
    access: "signature",
    verify: verifySchema.parse({ secretEnvVar: "HOOK_SECRET", ...verify }),
    signingSecret: {
      source: "HOOK_SECRET",
      secrets: [
        { name: "signing secret", source: "HOOK_SECRET", secret: secret === "" ? undefined : new Secret(secret) },
      ],
    },
  } as unknown as Service;
  return createSignatureCheck(service, undefined) as SignatureCheck;
}

/** The verdict over headers and body: `valid`, or the fault. */
function verdict(check: SignatureCheck, headers: readonly string[], body: string | Buffer = BODY, now = NOW): string {
  const claim = check.claimOf(headers, now * 1_000);
  if (typeof claim === "string") return claim;
  return check.idOf(claim, Buffer.from(body)) === undefined ? "mismatch" : "valid";
}

const hmac = (text: string, encoding: "hex" | "base64" | "base64url" = "hex", algorithm = "sha256", key = "secret") =>
  createHmac(algorithm, key).update(text).digest(encoding);

describe("The documented examples of vendors are valid", () => {
  test("GitHub: validating webhook deliveries, testing the webhook payload validation", () => {
    const check = checkFor({ scheme: "github" }, "It's a Secret to Everybody");
    const signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    expect(verdict(check, ["X-Hub-Signature-256", signature], "Hello, World!")).toBe("valid");
    expect(verdict(check, ["X-Hub-Signature-256", signature], "Hello, World?")).toBe("mismatch");
  });

  test("Slack: verifying requests from Slack, step by step", () => {
    const check = checkFor({ scheme: "slack" }, "8f742231b10e8888abcd99yyyzzz85a5");
    const body =
      "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const headers = [
      "X-Slack-Request-Timestamp",
      "1531420618",
      "X-Slack-Signature",
      "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    ];
    expect(verdict(check, headers, body, 1_531_420_618)).toBe("valid");
    expect(verdict(check, headers, body, NOW)).toBe("stale");
  });

  test("Standard Webhooks: the example of the specification", () => {
    const check = checkFor({ scheme: "standard-webhooks" }, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    const body = '{"test": 2432232314}';
    const signed = (family: string) => [
      `${family}-id`,
      "msg_p5jXN8AQM9LWM0D4loKWxJek",
      `${family}-timestamp`,
      "1614265330",
      `${family}-signature`,
      "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ];
    expect(verdict(check, signed("webhook"), body, 1_614_265_330)).toBe("valid");
    expect(verdict(check, signed("svix"), body, 1_614_265_330)).toBe("valid");
  });
});

describe("A signature", () => {
  test.each([
    [{ algorithm: "sha1" }, hmac(BODY, "hex", "sha1")],
    [{}, hmac(BODY)],
    [{ prefix: "sha256=" }, `sha256=${hmac(BODY)}`],
    [{}, hmac(BODY).toUpperCase()],
    [{ algorithm: "sha384", encoding: "base64" }, hmac(BODY, "base64", "sha384")],
    [{ algorithm: "sha512", encoding: "base64url" }, hmac(BODY, "base64url", "sha512")],
  ])("of any header with %j is valid", (settings, signature) => {
    const check = checkFor({ scheme: "hmac", header: "X-Sign", ...settings });
    expect(verdict(check, ["x-sign", signature])).toBe("valid");
    expect(verdict(check, ["X-SIGN", signature], `${BODY}!`)).toBe("mismatch");
  });

  test("is valid if any of several in one header is that of the body", () => {
    const stripe = checkFor({ scheme: "stripe" });
    const right = hmac(`${NOW}.${BODY}`);
    const wrong = hmac("other");
    const headerOf = (...signatures: string[]) => [
      "Stripe-Signature",
      [`t=${NOW}`, ...signatures.map((each) => `v1=${each}`), `v0=${right}`].join(","),
    ];
    expect(verdict(stripe, headerOf(wrong, right))).toBe("valid");
    expect(verdict(stripe, headerOf(right, wrong))).toBe("valid");
    expect(verdict(stripe, headerOf(wrong, "short"))).toBe("mismatch");
    expect(verdict(stripe, headerOf())).toBe("malformed");
    expect(verdict(stripe, headerOf(...Array.from({ length: 17 }, () => right)))).toBe("malformed");
  });

  test.each([
    [-300, "valid"],
    [300, "valid"],
    [-301, "stale"],
    [301, "stale"],
  ])("whose time is %i s from the clock is %s with a tolerance of 300 s", (offset, expected) => {
    const check = checkFor({ scheme: "stripe" });
    const time = NOW + offset;
    expect(verdict(check, ["stripe-signature", `t=${time},v1=${hmac(`${time}.${BODY}`)}`])).toBe(expected);
  });

  const id = ["webhook-id", "m1", "webhook-timestamp", `${NOW}`] as const;
  const standard = hmac(`m1.${NOW}.${BODY}`, "base64");
  test.each<[Record<string, unknown>, string[], string]>([
    [{ scheme: "github" }, [], "missing"],
    [{ scheme: "github" }, ["x-hub-signature", `sha1=${hmac(BODY, "hex", "sha1")}`], "missing"],
    [{ scheme: "github" }, ["x-hub-signature-256", hmac(BODY)], "malformed"],
    [{ scheme: "github" }, ["x-hub-signature-256", "sha256="], "malformed"],
    [{ scheme: "github" }, ["x-hub-signature-256", `sha256=${hmac(BODY)}00`], "malformed"],
    [{ scheme: "github" }, ["x-hub-signature-256", `sha256=${hmac(BODY).slice(1)}g`], "malformed"],
    [
      { scheme: "github" },
      ["x-hub-signature-256", `sha256=${hmac(BODY)}`, "X-Hub-Signature-256", `sha256=${hmac(BODY)}`],
      "malformed",
    ],
    [{ scheme: "stripe" }, ["stripe-signature", ""], "malformed"],
    [{ scheme: "stripe" }, ["stripe-signature", `v1=${hmac(`.${BODY}`)}`], "malformed"],
    [{ scheme: "stripe" }, ["stripe-signature", `t=${NOW},t=${NOW},v1=${hmac(`${NOW}.${BODY}`)}`], "malformed"],
    [{ scheme: "stripe" }, ["stripe-signature", `t=-1,v1=${hmac(`-1.${BODY}`)}`], "malformed"],
    [{ scheme: "stripe" }, ["stripe-signature", `t=1e9,v1=${hmac(`1e9.${BODY}`)}`], "malformed"],
    [{ scheme: "stripe" }, ["stripe-signature", `t=9999999999999,v1=${hmac("x")}`], "malformed"],
    [{ scheme: "slack" }, ["x-slack-signature", `v0=${hmac(BODY)}`], "missing"],
    [
      { scheme: "slack" },
      ["x-slack-signature", `v1=${"0".repeat(64)}`, "x-slack-request-timestamp", `${NOW}`],
      "malformed",
    ],
    [{ scheme: "standard-webhooks" }, ["webhook-signature", `v1,${standard}`], "missing"],
    [{ scheme: "standard-webhooks" }, [...id, "webhook-signature", `v1a,${standard}`], "malformed"],
    [{ scheme: "standard-webhooks" }, [...id, "webhook-id", "m1", "webhook-signature", `v1,${standard}`], "malformed"],
    [
      { scheme: "standard-webhooks" },
      ["webhook-id", "m.1", "webhook-timestamp", `${NOW}`, "webhook-signature", `v1,${standard}`],
      "malformed",
    ],
  ])("for %j in %j is %s", (verify, headers, expected) => {
    expect(verdict(checkFor(verify), headers)).toBe(expected);
  });

  test("is never valid without a secret", () => {
    for (const scheme of ["github", "stripe", "slack", "standard-webhooks"]) {
      const check = checkFor({ scheme }, "");
      expect(verdict(check, ["x-hub-signature-256", `sha256=${hmac(BODY, "hex", "sha256", "")}`])).toBe("no secret");
    }
  });

  test("of any other header text is refused, and never throws", () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom("t", "v", "0", "1", "=", ",", " ", "s", "h", "a", ".", "-", "\u00ff") }),
      fc.constantFrom(`t=${NOW},v1=${"0".repeat(64)}`, `v0=${"f".repeat(64)}`, `${NOW}`, `v1,${"A".repeat(43)}=`),
    );
    const names = [
      "x-hub-signature-256",
      "stripe-signature",
      "x-slack-signature",
      "x-slack-request-timestamp",
      "webhook-id",
      "webhook-timestamp",
      "webhook-signature",
      "x-sign",
    ];
    const checks = [
      ...["github", "stripe", "slack", "standard-webhooks"].map((scheme) => checkFor({ scheme })),
      checkFor({ scheme: "hmac", header: "X-Sign", encoding: "base64" }),
    ];
    const headers = fc.array(fc.tuple(fc.constantFrom(...names), text), { maxLength: 12 });
    fc.assert(
      fc.property(headers, (pairs) => checks.every((check) => verdict(check, pairs.flat()) !== "valid")),
      { numRuns: 2_000 },
    );
  });
});

describe("A signing secret", () => {
  const own = [new Secret("gateway-key-0123456789")];
  test.each([
    ["github", "any text with spaces", undefined],
    ["github", "two\nlines", "one line without control characters"],
    ["stripe", "gateway-key-0123456789", "a secret that is not one of the gateway's own keys"],
    ["standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", undefined],
    ["standard-webhooks", "not base64!", "base64 (RFC 4648 section 4), with or without `whsec_` before it"],
    ["standard-webhooks", "whsec_", "base64 (RFC 4648 section 4), with or without `whsec_` before it"],
  ])("of %s that is %j has the problem: %s", (scheme, text, problem) => {
    const verify = verifySchema.parse({ scheme, secretEnvVar: "S" });
    expect(unusableSigningSecret(verify, text, own)).toBe(problem);
  });
});
