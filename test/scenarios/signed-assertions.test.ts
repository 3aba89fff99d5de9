/** Credentials of type oauth2 with a private key: the grant jwt_bearer, and clients that authenticate with private_key_jwt. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type JWTPayload, jwtVerify } from "jose";
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { ecPair, type KeyPair, piecesOf, pkcs8Of, rsaPair, serviceAccountOf } from "../support/keys.ts";
import { everythingShown } from "../support/shown.ts";
import { refuseToken, startTokenEndpoint } from "../support/token-endpoint.ts";
import { startUpstream } from "../support/upstream.ts";

const env = { EGRESS_ALLOW_PRIVATE: "true", MANAGEMENT_API_KEY: MANAGEMENT_KEY };
const manage = { authorization: `Bearer ${MANAGEMENT_KEY}` };
const rsa = rsaPair();

async function ask({ url }: TestGateway, key: string) {
  const response = await fetch(`${url}/proxy/${key}/x`);
  return { status: response.status, text: await response.text() };
}

const refresh = ({ url }: TestGateway, key: string) =>
  fetch(`${url}/manage/services/${key}/credential/refresh`, { method: "POST", headers: manage });

/** Verifies the assertion as Google does, accepts each one once, and issues a token. */
async function startGoogle(expected: { issuer: string; audience?: string }, pair: { current: KeyPair }) {
  const seen: { readonly claims: JWTPayload; readonly header: object; readonly form: URLSearchParams }[] = [];
  const endpoint = await startTokenEndpoint(async ({ form, authorization }, count, res) => {
    try {
      const { audience = endpoint.url, issuer } = expected;
      const options = { audience, issuer, requiredClaims: ["iat", "exp", "jti"], maxTokenAge: 300 };
      const verified = await jwtVerify(form.get("assertion") ?? "", pair.current.publicKey, options);
      const isNew = seen.every(({ claims }) => claims.jti !== verified.payload.jti);
      const isRight = form.get("grant_type") === "urn:ietf:params:oauth:grant-type:jwt-bearer" && !authorization;
      seen.push({ claims: verified.payload, header: verified.protectedHeader, form });
      if (isNew && isRight) return { access_token: `ya29.token-${count}`, token_type: "Bearer", expires_in: 3_599 };
    } catch {
      // Refused as any other assertion that is not valid.
    }
    return refuseToken(res, 400, { error: "invalid_grant", error_description: "Invalid JWT Signature." });
  });
  return { endpoint, seen };
}

test("A Google service account needs its key file only: the scope is a claim, and each assertion is new", async () => {
  const google = await startGoogle({ issuer: "robot@the-project.iam.gserviceaccount.com" }, { current: rsa });
  const vendor = await startUpstream();
  const account = { type: "oauth2", grant: "jwt_bearer", keyFile: "account.json" } as const;
  const gateway = await startGateway({
    env,
    services: {
      drive: { baseUrl: vendor.url, auth: { ...account, scope: "https://www.googleapis.com/auth/drive" } },
      admin: { baseUrl: vendor.url, auth: { ...account, subject: "admin@example.com", params: { scope: "a" } } },
    },
    files: { "account.json": serviceAccountOf(rsa, google.endpoint.url) },
  });
  for (const key of ["drive", "drive"]) expect((await ask(gateway, key)).status).toBe(200);
  expect(vendor.requests.at(-1)?.headers.authorization).toBe("Bearer ya29.token-1");
  expect((await refresh(gateway, "drive")).status).toBe(204);
  expect((await ask(gateway, "admin")).status).toBe(200);

  const [first, second, third] = google.seen;
  expect(google.seen).toHaveLength(3);
  expect(first?.header).toEqual({ alg: "RS256", typ: "JWT", kid: "the-key-of-the-account" });
  expect(first?.claims).toEqual({
    iss: "robot@the-project.iam.gserviceaccount.com",
    aud: google.endpoint.url,
    scope: "https://www.googleapis.com/auth/drive",
    jti: expect.any(String),
    iat: expect.any(Number),
    exp: (first?.claims.iat ?? 0) + 130,
  });
  expect([...(first?.form.keys() ?? [])].sort()).toEqual(["assertion", "grant_type"]);
  expect(second?.claims.jti).not.toBe(first?.claims.jti);
  expect(third?.claims).toMatchObject({ sub: "admin@example.com" });
  expect(third?.claims).not.toHaveProperty("scope");
  expect(third?.form.get("scope")).toBe("a");

  google.endpoint.respond((_, __, res) => refuseToken(res, 400, { error: "invalid_grant" }));
  expect(await (await refresh(gateway, "drive")).text()).toContain("responded with 400 (invalid_grant).");
  const hourAgo = { date: new Date(Date.now() - 3_600_000).toUTCString() };
  google.endpoint.respond((_, __, res) => refuseToken(res, 400, { error: "invalid_grant" }, hourAgo));
  expect(await (await refresh(gateway, "drive")).text()).toMatch(
    /400 \(invalid_grant; the clock of this machine is 36\d\d seconds ahead of that of the endpoint\)/,
  );
  const shown = await everythingShown(gateway, ["drive", "admin"]);
  expect(shown).toContain("file:account.json");
  expect([...piecesOf(rsa), "ya29.", "eyJhbGci"].filter((piece) => shown.includes(piece))).toEqual([]);
});

test("A key file that changes is used at once, and one that is removed is a missing secret", async () => {
  const [before, after] = [ecPair(), ecPair()];
  const pair = { current: before };
  const { endpoint, seen } = await startGoogle({ issuer: "gateway", audience: "https://login.example" }, pair);
  const vendor = await startUpstream();
  const auth = {
    ...({ type: "oauth2", grant: "jwt_bearer", keyFile: "key.pem", algorithm: "ES256" } as const),
    ...{ tokenUrl: endpoint.url, issuer: "gateway", assertionAudience: "https://login.example" },
  };
  const gateway = await startGateway({
    env,
    services: { api: { baseUrl: vendor.url, auth } },
    files: { "key.pem": pkcs8Of(before) },
  });
  expect((await ask(gateway, "api")).status).toBe(200);
  expect(seen[0]?.claims).toMatchObject({ iss: "gateway", sub: "gateway" });
  expect(seen[0]?.header).toEqual({ alg: "ES256", typ: "JWT" });

  pair.current = after;
  writeFileSync(join(gateway.directory, "key.pem"), pkcs8Of(after));
  await gateway.reload();
  expect((await ask(gateway, "api")).status).toBe(200);
  expect(seen).toHaveLength(2);

  writeFileSync(join(gateway.directory, "key.pem"), pkcs8Of(rsa));
  expect(await gateway.reload()).toMatchObject({
    isDone: false,
    problems: [expect.stringContaining("a key for the algorithm ES256; this one is for RS256")],
  });
  expect((await ask(gateway, "api")).status).toBe(200);

  writeFileSync(join(gateway.directory, "key.pem"), "\n");
  await gateway.reload();
  expect(JSON.parse((await ask(gateway, "api")).text)).toMatchObject({
    code: "UPSTREAM_CREDENTIAL_MISSING",
    message: expect.stringContaining("missing or empty"),
  });
  const shown = await everythingShown(gateway, ["api"]);
  expect([...piecesOf(before), ...piecesOf(after), ...piecesOf(rsa)].filter((piece) => shown.includes(piece))).toEqual(
    [],
  );
});

test("A client with private_key_jwt also renews with a refresh token, and adds no secret to the form", async () => {
  const endpoint = await startTokenEndpoint((_, count) => ({
    ...{ access_token: `token-${count}-of-the-user`, token_type: "bearer", expires_in: 3_600 },
    refresh_token: `refresh-${count}-of-the-user`,
  }));
  const vendor = await startUpstream();
  const auth = {
    ...({ type: "oauth2", grant: "refresh_token", clientAuth: "private_key_jwt", keyFile: "key.pem" } as const),
    ...{ tokenUrl: endpoint.url, clientId: "the-client", issuer: "the-issuer", refreshTokenFile: "refresh" },
  };
  const gateway = await startGateway({
    env,
    services: { api: { baseUrl: vendor.url, auth } },
    files: { "key.pem": pkcs8Of(rsa), refresh: "refresh-0-of-the-user" },
  });
  expect((await ask(gateway, "api")).status).toBe(200);
  expect((await refresh(gateway, "api")).status).toBe(204);
  await eventually(() => endpoint.requests.length === 2, "the second fetch");
  const assertions = endpoint.requests.map(({ form }) => form.get("client_assertion") ?? "");
  expect(assertions[0]).not.toBe(assertions[1]);
  for (const [at, { form }] of endpoint.requests.entries()) {
    expect([...form.keys()].sort()).toEqual([
      ...["client_assertion", "client_assertion_type", "client_id", "grant_type", "refresh_token"],
    ]);
    expect(form.get("refresh_token")).toBe(`refresh-${at}-of-the-user`);
    const { payload } = await jwtVerify(assertions[at] as string, rsa.publicKey, { audience: endpoint.url });
    expect(payload).toMatchObject({ iss: "the-issuer", sub: "the-client" });
  }
});
