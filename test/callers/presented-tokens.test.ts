/** The tokens of one request between their verification and the decision. */
import { expect, test } from "vitest";
import { digestOf } from "../../src/callers/presented-keys.ts";
import { judgeToken, verifyUnknown } from "../../src/callers/presented-tokens.ts";
import { createTokenVerifier } from "../../src/callers/token-verifier.ts";
import { AUDIENCE, createIssuerKey, ISSUER } from "../support/issuer.ts";

const [old, added] = [await createIssuerKey("old"), await createIssuerKey("added")];

function open() {
  const state = { keys: [old.jwk] };
  const tokens = createTokenVerifier({
    settings: {
      issuer: ISSUER,
      audiences: [AUDIENCE],
      permissionsClaim: undefined,
      source: { kind: "jwks", url: "https://issuer.example/jwks" },
    },
    fetchJson: async () => ({ keys: state.keys }),
    report() {},
  });
  return { state, tokens };
}

test("A known token of a request keeps its verdict while another one of the request is verified, whatever changes meanwhile", async () => {
  const { state, tokens } = open();
  const [first, second] = [await old.sign(), await added.sign()];
  await tokens.verify(first);
  state.keys = [added.jwk];
  const verdicts = await verifyUnknown([first, second], { tokens, address: "" }, () => true);
  expect(tokens.find(digestOf(first))).toBeUndefined();
  expect([first, second].map((token) => verdicts?.get(token)?.state)).toEqual(["valid", "valid"]);
});

test("A token that was not verified for its request is called unavailable, not invalid", async () => {
  const { tokens } = open();
  const token = await old.sign();
  const trial = { plane: "proxy", verdicts: undefined, otherPlane: false } as const;
  const judged = { ...trial } as { -readonly [K in keyof typeof trial]: (typeof trial)[K] } & { token?: string };
  expect(judgeToken(token, { digest: digestOf(token), tokens, trial: judged as never })).toBeUndefined();
  expect(judged.token).toBe("unavailable");
});
