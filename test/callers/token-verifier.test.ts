/** Which tokens are accepted, when keys are fetched, and how long a verdict lives. */
import { createHmac, createPublicKey, generateKeyPairSync } from "node:crypto";
import type { JWK } from "jose";
import { describe, expect, test } from "vitest";
import { digestOf } from "../../src/callers/presented-keys.ts";
import { hasTokenForm, maskTokens } from "../../src/callers/token-form.ts";
import { createTokenVerifier } from "../../src/callers/token-verifier.ts";
import { Secret } from "../../src/config/secret.ts";
import {
  AUDIENCE,
  assemble,
  claimsWith,
  createIssuerKey,
  ISSUER,
  inSeconds,
  SECRET,
  signWithSecret,
} from "../support/issuer.ts";

const key = await createIssuerKey("one");
const rsa = await createIssuerKey("rsa", "RS256");
/** Not in the key set. */
const own = await createIssuerKey("own");

function open(permissionsClaim?: string, publicKeys: readonly JWK[] = [key.jwk, rsa.jwk]) {
  const state = { now: Date.now(), keys: publicKeys, fails: false, fetches: 0, reports: [] as unknown[] };
  const settings = { issuer: ISSUER, audiences: [AUDIENCE, "second"], permissionsClaim };
  const verifier = createTokenVerifier({
    settings: { ...settings, source: { kind: "jwks", url: "https://issuer.example/jwks" } },
    async fetchJson() {
      state.fetches += 1;
      if (state.fails) throw new Error("the response was 500");
      return { keys: state.keys };
    },
    report: (failure) => state.reports.push(failure),
    now: () => state.now,
  });
  return { state, verifier };
}

const openWithSecret = () =>
  createTokenVerifier({
    settings: {
      issuer: ISSUER,
      audiences: [AUDIENCE],
      permissionsClaim: undefined,
      source: { kind: "secret", secret: new Secret(SECRET) },
    },
    fetchJson: () => Promise.reject(new Error("no fetch is expected")),
    report() {},
  });

const verdictOf = async (token: string, verifier = open().verifier) => {
  const verdict = await verifier.verify(token);
  return verdict.state === "invalid" ? `invalid${verdict.isGuess ? ", a guess" : ""}` : verdict.state;
};

describe("claims", () => {
  test.each([
    ["a token for another issuer", { iss: "https://other.example/" }, "invalid, a guess"],
    ["a token without an issuer", { iss: undefined }, "invalid, a guess"],
    ["a token for another audience", { aud: "https://other.example" }, "invalid, a guess"],
    ["a token without an audience", { aud: undefined }, "invalid, a guess"],
    ["one of several audiences", { aud: ["https://other.example", "second"] }, "valid"],
    ["a token without exp", { exp: undefined }, "invalid"],
    ["an exp 15 s ago", { exp: inSeconds(-15) }, "valid"],
    ["an exp 60 s ago", { exp: inSeconds(-60) }, "expired"],
    ["an exp that is a text", { exp: "9999999999" as never }, "invalid"],
    ["an exp beyond every date", { exp: 1e300 }, "valid"],
    ["an nbf in 20 s", { nbf: inSeconds(20) }, "valid"],
    ["an nbf in 60 s", { nbf: inSeconds(60) }, "invalid"],
  ])("The verdict on %s is as RFC 7519 says: %#", async (_, claims, expected) => {
    expect(await verdictOf(await key.sign(claims))).toBe(expected);
  });

  test.each([
    ["permissions, before scope", { permissions: ["github:read"], scope: "a:read" }, undefined, ["github:read"]],
    [
      "scope, a text with spaces",
      { permissions: undefined, scope: "openid github:read a:write" },
      undefined,
      ["openid", "github:read", "a:write"],
    ],
    ["no claim", { permissions: undefined }, undefined, []],
    ["permissions that are an object", { permissions: { 0: "*:*" } }, undefined, []],
    ["a list with other values", { permissions: [1, null, ["*:*"], "a:read"] }, undefined, ["a:read"]],
    ["manage, which no token opens", { permissions: ["manage:*", "a:read"] }, undefined, ["a:read"]],
    ["the named claim only", { permissions: ["*:*"], "https://x/roles": ["b:read"] }, "https://x/roles", ["b:read"]],
    ["a named claim that is missing", { permissions: ["*:*"] }, "roles", []],
    ["a name that every object has", { permissions: ["*:*"] }, "constructor", []],
  ])("The permissions come from the claim: %s", async (_, claims, claim, expected) => {
    const verdict = await open(claim).verifier.verify(await key.sign(claims as never));
    expect(verdict.state === "valid" && verdict.key.key.permissions).toEqual(expected);
    expect(verdict.state === "valid" && verdict.key.permissions.hasManage).toBe(false);
  });

  test.each([
    ["a plain subject", { sub: "auth0|5f7c" }, /^jwt:auth0\|5f7c$/],
    ["a long subject", { sub: "x".repeat(65) }, /^jwt:#[0-9a-f]{16}$/],
    ["a subject with a line break", { sub: "a\nb" }, /^jwt:#[0-9a-f]{16}$/],
    ["a subject like a digest", { sub: "#0123456789abcdef" }, /^jwt:#(?!0123456789abcdef)[0-9a-f]{16}$/],
    ["a client without a subject", { sub: undefined, client_id: "ci" }, /^jwt:ci$/],
    ["no subject", { sub: undefined }, /^jwt:#$/],
  ])("The caller's id is short and printable: %s", async (_, claims, expected) => {
    const verdict = await open().verifier.verify(await key.sign(claims));
    expect(verdict.state === "valid" && verdict.key.id).toMatch(expected);
  });
});

describe("attacks", () => {
  const claims = claimsWith();
  const pem = createPublicKey({ key: rsa.jwk as never, format: "jwk" }).export({ type: "spki", format: "pem" });
  const signedAs = (header: unknown, secret: string | Buffer) => {
    const input = assemble(header, claims, "").slice(0, -1);
    return `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
  };

  test.each<[string, () => string | Promise<string>]>([
    ["no signature, with alg none", () => assemble({ alg: "none" }, claims, "")],
    ["alg none in other letters", () => assemble({ alg: "nOnE" }, claims)],
    ["no alg", () => assemble({ typ: "JWT" }, claims)],
    ["HS256 with the PEM of the public key as the secret", () => signedAs({ alg: "HS256", kid: "rsa" }, pem)],
    [
      "HS256 with the JWK of the public key as the secret",
      () => signedAs({ alg: "HS256", kid: "rsa" }, JSON.stringify(rsa.jwk)),
    ],
    ["HS256 with an empty secret", () => signedAs({ alg: "HS256", kid: "/dev/null" }, "")],
    ["its own key in the header", () => own.sign({}, { jwk: own.jwk, kid: undefined })],
    ["the URL of its own key set in the header", () => own.sign({}, { jku: "https://evil.example/jwks", kid: "one" })],
    [
      "its own certificate in the header",
      () => own.sign({}, { x5u: "https://evil.example/c", x5c: ["MIIB"], kid: "one" }),
    ],
    ["a kid that is a path", () => own.sign({}, { kid: "../../../../dev/null" })],
    ["a kid that is SQL", () => own.sign({}, { kid: "x' UNION SELECT 'key" })],
    ["a kid that is an object", () => assemble({ alg: "ES256", kid: { a: 1 } }, claims)],
    ["another key with the kid of the issuer's", () => own.sign({}, { kid: "one" })],
    [
      "the algorithm of another key type",
      async () => `${assemble({ alg: "RS256", kid: "one" }, claims, "")}${(await key.sign()).split(".")[2]}`,
    ],
    [
      "changed claims",
      async () =>
        (await key.sign()).replace(/\.[^.]+\./, `.${assemble({}, claimsWith({ sub: "root" })).split(".")[1]}.`),
    ],
    ["a signature that is cut short", async () => (await key.sign()).slice(0, -6)],
    ["an empty signature", async () => (await key.sign()).replace(/[^.]+$/, "")],
    [
      "an ES256 signature of zeros (CVE-2022-21449)",
      () => assemble({ alg: "ES256", kid: "one" }, claims, Buffer.alloc(64).toString("base64url")),
    ],
    ["an unknown critical header", () => assemble({ alg: "ES256", kid: "one", crit: ["x"], x: 1 }, claims)],
    ["an unencoded payload (b64)", () => assemble({ alg: "ES256", kid: "one", crit: ["b64"], b64: false }, claims)],
    ["a token in a token", async () => assemble({ alg: "ES256", kid: "one", cty: "JWT" }, await key.sign())],
    ["claims that are a list", () => assemble({ alg: "ES256", kid: "one" }, [claims])],
    ["more than 8 KiB", () => key.sign({ padding: "x".repeat(8_192) })],
    ["five parts, as an encrypted token has", async () => `${await key.sign()}.AAAA.AAAA`],
  ])("A token with %s is refused and counts as a guess", async (_, make) => {
    expect(await verdictOf(await make())).toBe("invalid, a guess");
  });

  test("A secret accepts HS algorithms only, and a key set only asymmetric ones", async () => {
    for (const alg of ["HS256", "HS384", "HS512"]) {
      expect(await verdictOf(await signWithSecret({}, SECRET, alg), openWithSecret())).toBe("valid");
      expect(await verdictOf(await signWithSecret({}, SECRET, alg))).toBe("invalid, a guess");
    }
    expect(await verdictOf(await key.sign(), openWithSecret())).toBe("invalid, a guess");
    expect(await verdictOf(await signWithSecret({}, `${SECRET}x`), openWithSecret())).toBe("invalid, a guess");
    expect(await verdictOf(assemble({ alg: "none" }, claims, ""), openWithSecret())).toBe("invalid, a guess");
  });

  test.each(["RS256", "PS384", "ES384", "ES512", "EdDSA"])("A key set accepts %s", async (alg) => {
    const other = await createIssuerKey("other", alg);
    expect(await verdictOf(await other.sign(), open(undefined, [other.jwk]).verifier)).toBe("valid");
  });

  test("A symmetric key in a key set verifies nothing", async () => {
    const oct = { kty: "oct", k: Buffer.from(SECRET).toString("base64url"), alg: "HS256", kid: "s" };
    expect(await verdictOf(await signWithSecret(), open(undefined, [oct, key.jwk]).verifier)).toBe("invalid, a guess");
  });

  test("A token without kid is verified with each key of its type, and with none of another issuer", async () => {
    const second = await createIssuerKey("two");
    const keys = [key.jwk, second.jwk];
    expect(await verdictOf(await second.sign({}, { kid: undefined }), open(undefined, keys).verifier)).toBe("valid");
    const strange = await own.sign({}, { kid: undefined });
    expect(await verdictOf(strange, open(undefined, keys).verifier)).toBe("invalid, a guess");
  });

  test("A token for another issuer or audience causes no fetch", async () => {
    const { state, verifier } = open();
    await verifier.verify(await key.sign({ iss: "https://other.example/" }));
    await verifier.verify(await key.sign({ aud: "other" }));
    expect(state.fetches).toBe(0);
  });
});

describe("keys", () => {
  test("Simultaneous tokens share one fetch, and the keys are fetched again after five minutes", async () => {
    const { state, verifier } = open();
    const tokens = await Promise.all([1, 2, 3].map((sub) => key.sign({ sub: String(sub) })));
    await Promise.all(tokens.map((token) => verifier.verify(token)));
    expect(state.fetches).toBe(1);
    state.now += 299_000;
    await verifier.verify(tokens[0] as string);
    expect(state.fetches).toBe(1);
    state.now += 1_000;
    await verifier.verify(tokens[0] as string);
    expect(state.fetches).toBe(2);
  });

  test("A key that the issuer adds is fetched when a token names it, at most once per cooldown", async () => {
    const { state, verifier } = open();
    const added = await createIssuerKey("added");
    await verifier.verify(await key.sign());
    state.keys = [added.jwk];
    expect(await verdictOf(await added.sign(), verifier)).toBe("valid");
    // Not known to be forged: its key may be new.
    for (let i = 0; i < 20; i++)
      expect(await verdictOf(await added.sign({}, { kid: `random-${i}` }), verifier)).toBe("invalid");
    expect(state.fetches).toBe(2);
    state.now += 10_000;
    expect(await verdictOf(await added.sign({}, { kid: "random" }), verifier)).toBe("invalid, a guess");
    expect(state.fetches).toBe(3);
  });

  test("The tokens of a key that the issuer removed are refused from the next fetch on, also if they were verified", async () => {
    const { state, verifier } = open();
    const added = await createIssuerKey("added");
    const token = await key.sign();
    await verifier.verify(token);
    expect(verifier.find(digestOf(token))).toBeDefined();
    state.keys = [added.jwk];
    state.now += 30_000;
    await verifier.verify(await added.sign());
    expect(verifier.find(digestOf(token))).toBeUndefined();
    expect(await verdictOf(token, verifier)).toMatch(/^invalid/);
  });

  test("While the issuer fails its last keys stay, fetches are spaced out, and the failure is reported once", async () => {
    const { state, verifier } = open();
    const token = await key.sign({ exp: inSeconds(100_000) });
    await verifier.verify(token);
    state.fails = true;
    const fetches: number[] = [];
    for (let second = 0; second < 600; second++) {
      state.now += 1_000;
      const before = state.fetches;
      expect(await verdictOf(token, verifier)).toBe("valid");
      if (state.fetches > before) fetches.push(second + 1);
    }
    expect(fetches).toEqual([300, 301, 303, 307, 315, 331, 363, 423, 483, 543]);
    expect(state.reports).toEqual(["the response was 500"]);
    // A token of a key that is not known can be neither accepted nor refused.
    expect(await verdictOf(await key.sign({}, { kid: "new" }), verifier)).toBe("unavailable");
    state.fails = false;
    state.now += 60_000;
    await verifier.verify(token);
    expect(state.reports).toEqual(["the response was 500", undefined]);
  });

  test.each([
    ["an error", () => Promise.reject(new Error("the response was 500"))],
    ["no key set", async () => ({ keys: "x" })],
    ["an empty key set", async () => ({ keys: [] })],
    ["only keys for encryption", async () => ({ keys: [{ ...key.jwk, use: "enc" }] })],
    ["only a private key", async () => ({ keys: [{ ...key.jwk, d: "AAAA" }] })],
  ])("Without any key no token is called invalid: %s", async (_, fetchJson) => {
    const verifier = createTokenVerifier({
      settings: {
        issuer: ISSUER,
        audiences: [AUDIENCE],
        permissionsClaim: undefined,
        source: { kind: "jwks", url: "https://issuer.example/jwks" },
      },
      fetchJson,
      report() {},
    });
    expect(await verdictOf(await key.sign(), verifier)).toBe("unavailable");
    expect(await verifier.jwks?.check()).toMatchObject({ keys: 0, failure: expect.any(String) });
  });

  test("A key that cannot verify a token is counted and not used, and its tokens are no guesses", async () => {
    const weak = generateKeyPairSync("rsa", { modulusLength: 1024 });
    const weakJwk = { ...(weak.publicKey.export({ format: "jwk" }) as JWK), kid: "weak", alg: "RS256" };
    const { verifier } = open(undefined, [
      weakJwk,
      { kty: "EC", crv: "P-256", kid: "broken", x: "!", y: "!" },
      key.jwk,
    ]);
    expect(await verdictOf(await key.sign(), verifier)).toBe("valid");
    expect(await verifier.jwks?.check()).toMatchObject({ keys: 1, unusable: 2 });
    const claims = claimsWith();
    await verifier.verify(assemble({ alg: "RS256", kid: "any" }, claims));
    expect(await verdictOf(assemble({ alg: "RS256", kid: "weak" }, claims), verifier)).toBe("invalid");
    expect(await verdictOf(assemble({ alg: "ES256", kid: "broken" }, claims), verifier)).toBe("invalid");
  });

  test("One address holds at most half of the verifications that wait, so that another one's token is verified", async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const verifier = createTokenVerifier({
      settings: {
        issuer: ISSUER,
        audiences: [AUDIENCE],
        permissionsClaim: undefined,
        source: { kind: "jwks", url: "https://issuer.example/jwks" },
      },
      async fetchJson() {
        await held;
        return { keys: [key.jwk] };
      },
      report() {},
    });
    const good = await key.sign();
    const flood = Array.from({ length: 1_000 }, (_, i) =>
      verifier.verify(assemble({ alg: "ES256", kid: "one" }, claimsWith({ jti: `${i}` })), "192.0.2.1"),
    );
    const victim = verifier.verify(good, "192.0.2.2");
    release();
    expect((await victim).state).toBe("valid");
    const states = (await Promise.all(flood)).map(({ state }) => state);
    expect(states.filter((state) => state === "unavailable")).toHaveLength(500);
    expect((await verifier.verify(good, "192.0.2.1")).state).toBe("valid");
  });

  test("A grant is over when its key is withdrawn, and when the verifier is closed", async () => {
    const { state, verifier } = open();
    const added = await createIssuerKey("added");
    const keyOf = async (token: string) => {
      const verdict = await verifier.verify(token);
      if (verdict.state !== "valid") throw new Error(verdict.state);
      return verdict.key;
    };
    const [first, other] = [await keyOf(await key.sign()), await keyOf(await rsa.sign())];
    state.keys = [rsa.jwk, added.jwk];
    const latest = await keyOf(await added.sign());
    expect([first, other, latest].map(({ isOver }) => isOver)).toEqual([true, false, false]);
    verifier.close();
    expect([other, latest].map(({ isOver }) => isOver)).toEqual([true, true]);
    expect((await keyOf(await added.sign({ jti: "late" }))).isOver).toBe(true);
  });
});

describe("verdicts", () => {
  test("A verified token is found for five minutes, and never beyond its exp", async () => {
    const { state, verifier } = open();
    const token = await key.sign({ exp: inSeconds(10_000) });
    const short = await key.sign({ exp: inSeconds(100) });
    expect(verifier.find(digestOf(token))).toBeUndefined();
    await verifier.verify(token);
    await verifier.verify(short);
    const start = state.now;
    state.now = start + 99_000;
    expect(verifier.find(digestOf(short))).toBeDefined();
    state.now = start + 101_000;
    expect(verifier.find(digestOf(short))).toBeUndefined();
    state.now = start + 299_000;
    expect(verifier.find(digestOf(token))).toBeDefined();
    state.now = start + 300_000;
    expect(verifier.find(digestOf(token))).toBeUndefined();
    state.now = start - 3_600_000;
    expect(verifier.find(digestOf(token))).toBeUndefined();
  });

  test("A grant ends 30 s after exp", async () => {
    const { state, verifier } = open();
    const verdict = await verifier.verify(await key.sign({ exp: inSeconds(100) }));
    const grant = verdict.state === "valid" ? verdict.key : undefined;
    state.now += 128_000;
    expect(grant).toMatchObject({ state: "active", isOver: false });
    state.now += 3_000;
    expect(grant).toMatchObject({ state: "expired", isOver: true });
  });

  test("A token in a text is masked, and other text is not changed", async () => {
    expect(maskTokens(`GET /x/${await key.sign()}?a=eyJ1 b`)).toBe("GET /x/***?a=eyJ1 b");
    const spaced = [{ alg: "HS256" }, claimsWith()].map((part) =>
      Buffer.from(JSON.stringify(part, null, 2)).toString("base64url"),
    );
    const token = `${spaced.join(".")}.AAAA`;
    expect(hasTokenForm(token)).toBe(true);
    expect(maskTokens(`x${token} y`)).toBe("x*** y");
    expect(maskTokens(`${token},${token}.${token}`)).toBe("***,***.***");
    for (const text of ["eyJ.eyJ.A", "key.eyJ", "www.key.example.com", "/eyJaaaaa.b.c/"])
      expect(maskTokens(text)).toBe(text);
  });

  test.each([["eyJ"], ["eyJaaaaa."], ["eyJaaaaa.."], ["eyA.e"]])(
    "A long text that nearly has tokens is searched within milliseconds: %s",
    (piece) => {
      const text = piece.repeat(Math.ceil(16_384 / piece.length));
      const since = performance.now();
      maskTokens(text);
      expect(performance.now() - since).toBeLessThan(100);
    },
  );
});
