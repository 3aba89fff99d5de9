/** An issuer of JSON Web Tokens: its keys, its key set over HTTP, and tokens as it makes them. */
import { exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from "jose";
import { startUpstream } from "./upstream.ts";

export const ISSUER = "https://issuer.example/";
export const AUDIENCE = "https://gateway.example";
export const SECRET = "a-shared-secret-of-the-issuer-0123456789";

export interface IssuerKey {
  readonly jwk: JWK;
  sign(claims?: JWTPayload, header?: Record<string, unknown>): Promise<string>;
}

/** Seconds from now. */
export const inSeconds = (seconds: number) => Math.floor(Date.now() / 1_000) + seconds;

export const claimsWith = (claims: JWTPayload = {}): JWTPayload => ({
  iss: ISSUER,
  aud: AUDIENCE,
  sub: "alice",
  exp: inSeconds(600),
  permissions: ["*:*"],
  ...claims,
});

export async function createIssuerKey(kid: string, alg = "ES256"): Promise<IssuerKey> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  return {
    jwk: { ...(await exportJWK(publicKey)), kid, alg },
    sign: (claims, header = {}) =>
      new SignJWT(claimsWith(claims)).setProtectedHeader({ alg, kid, ...header }).sign(privateKey),
  };
}

export function signWithSecret(claims?: JWTPayload, secret = SECRET, alg = "HS256"): Promise<string> {
  return new SignJWT(claimsWith(claims)).setProtectedHeader({ alg }).sign(new TextEncoder().encode(secret));
}

/** A token whose parts are these texts, with any signature. */
export const assemble = (header: unknown, claims: unknown, signature = "AAAA") =>
  `${[header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".")}.${signature}`;

/** Serves `keys`; with `status` other than 200 it fails. While `held` is set, a request waits for it. */
export async function startIssuer(...keys: IssuerKey[]) {
  const state = { keys, status: 200, held: undefined as Promise<void> | undefined };
  const server = await startUpstream(async (_, res) => {
    await state.held;
    res.writeHead(state.status, { "content-type": "application/jwk-set+json" });
    res.end(JSON.stringify({ keys: state.keys.map(({ jwk }) => jwk) }));
  });
  return {
    state,
    requests: server.requests,
    env: { JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE, JWT_JWKS_URL: `${server.url}/jwks.json` },
  };
}
