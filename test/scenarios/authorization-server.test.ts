/** A real authorization server, which knows the gateway's clients by their public keys: every grant, and what it refuses. */
import { jwtVerify } from "jose";
import { type KoaContextWithOIDC, Provider } from "oidc-provider";
import { expect, test } from "vitest";
import { MANAGEMENT_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { ecPair, type KeyPair, pkcs1Of, pkcs8Of, rsaPair } from "../support/keys.ts";
import { startLoopbackServer } from "../support/loopback-server.ts";
import { startUpstream } from "../support/upstream.ts";

const env = { EGRESS_ALLOW_PRIVATE: "true", MANAGEMENT_API_KEY: MANAGEMENT_KEY };
const [rsa, ec] = [rsaPair(), ecPair()];
const files = {
  "rsa.pem": pkcs1Of(rsa),
  "ec.jwk": JSON.stringify({ ...ec.privateKey.export({ format: "jwk" }), kid: "key-of-ec" }),
  "other.pem": pkcs8Of(rsaPair()),
};
const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";

async function ask({ url }: TestGateway, key: string) {
  const response = await fetch(`${url}/proxy/${key}/x`);
  return { status: response.status, text: await response.text() };
}

const refresh = ({ url }: TestGateway, key: string) =>
  fetch(`${url}/manage/services/${key}/credential/refresh`, {
    method: "POST",
    headers: { authorization: `Bearer ${MANAGEMENT_KEY}` },
  });

/** Accepts the client `rsa` with PS256 and the client `ec` with ES256, and each assertion once. */
async function startProvider() {
  const { server, url: issuer } = await startLoopbackServer();
  const client = (client_id: string, { publicKey }: KeyPair, token_endpoint_auth_signing_alg: string) => ({
    ...{ client_id, redirect_uris: ["https://client.example/"], scope: "read offline_access openid" },
    grant_types: ["client_credentials", "refresh_token", "authorization_code", JWT_BEARER],
    ...{ token_endpoint_auth_method: "private_key_jwt", token_endpoint_auth_signing_alg },
    jwks: { keys: [{ ...publicKey.export({ format: "jwk" }), kid: `key-of-${client_id}` }] },
  });
  const provider = new Provider(issuer, {
    clients: [client("rsa", rsa, "PS256"), client("ec", ec, "ES256")] as never,
    scopes: ["read", "offline_access"],
    features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
    enabledJWA: { clientAuthSigningAlgValues: ["PS256", "ES256"] },
    ttl: { ClientCredentials: 600, AccessToken: 600, IdToken: 600, RefreshToken: 6_000, Grant: 6_000 },
    rotateRefreshToken: true,
    findAccount: (_, accountId) => ({ accountId, claims: async () => ({ sub: accountId }) }),
  });
  const subjects = acceptAssertions(provider, issuer);
  server.on("request", provider.callback());
  return { provider, subjects, issuer, tokenUrl: `${issuer}/token` };
}

/** The grant jwt_bearer, which the library leaves to its users. @returns the subjects by their tokens. */
function acceptAssertions(provider: Provider, issuer: string): ReadonlyMap<string, unknown> {
  const subjects = new Map<string, unknown>();
  const used = new Set<unknown>();
  const handler = async (context: KoaContextWithOIDC) => {
    const { client, params } = context.oidc;
    const options = { audience: issuer, issuer: client?.clientId ?? "", maxTokenAge: 300 };
    const { payload } = await jwtVerify(String(params?.assertion), ec.publicKey, options);
    if (client === undefined || used.has(payload.jti)) throw new Error("the assertion was used before");
    used.add(payload.jti);
    const { ClientCredentials } = provider;
    const token = await new ClientCredentials({ client, scope: String(payload.scope) } as never).save();
    subjects.set(token, payload.sub);
    context.body = { access_token: token, token_type: "Bearer", expires_in: 600 };
  };
  provider.registerGrantType(JWT_BEARER, handler, ["assertion"]);
  return subjects;
}

test("A client with private_key_jwt is accepted, by tokenUrl and by discovery, with each kind of key", async () => {
  const { provider, issuer, tokenUrl } = await startProvider();
  const vendor = await startUpstream();
  const common = { type: "oauth2", grant: "client_credentials", clientAuth: "private_key_jwt", scope: "read" } as const;
  const rsaClient = { ...common, tokenUrl, clientId: "rsa", keyFile: "rsa.pem", algorithm: "PS256" } as const;
  const gateway = await startGateway({
    env,
    services: {
      rsa: { baseUrl: vendor.url, auth: rsaClient },
      discovered: { baseUrl: vendor.url, auth: { ...common, issuer, clientId: "ec", keyFile: "ec.jwk" } },
      other: { baseUrl: vendor.url, auth: { ...rsaClient, keyFile: "other.pem" } },
      audience: { baseUrl: vendor.url, auth: { ...rsaClient, assertionAudience: "https://elsewhere.example" } },
    },
    files,
  });
  for (const [key, clientId] of [
    ["rsa", "rsa"],
    ["discovered", "ec"],
  ]) {
    expect((await ask(gateway, key as string)).status).toBe(200);
    const sent = vendor.requests.at(-1)?.headers.authorization ?? "";
    const token = await provider.ClientCredentials.find(sent.replace("Bearer ", ""));
    expect([token?.clientId, token?.scope]).toEqual([clientId, "read"]);
    // The server remembers the assertions that it has accepted.
    expect((await refresh(gateway, key as string)).status).toBe(204);
  }
  for (const key of ["other", "audience"]) {
    expect((await ask(gateway, key)).text).toContain("responded with 401 (invalid_client)");
  }
});

test("The grant jwt_bearer gives a token for the subject, also to a client that signs for itself", async () => {
  const { provider, subjects, issuer } = await startProvider();
  const vendor = await startUpstream();
  const auth = {
    ...({ type: "oauth2", grant: "jwt_bearer", clientAuth: "private_key_jwt", keyFile: "ec.jwk" } as const),
    ...{ issuer, clientId: "ec", subject: "alice", scope: "read" },
  };
  const gateway = await startGateway({ env, services: { api: { baseUrl: vendor.url, auth } }, files });
  expect((await ask(gateway, "api")).status).toBe(200);
  expect((await refresh(gateway, "api")).status).toBe(204);
  expect((await ask(gateway, "api")).status).toBe(200);
  const tokens = vendor.requests.map(({ headers }) => (headers.authorization ?? "").replace("Bearer ", ""));
  expect(new Set(tokens).size).toBe(2);
  for (const each of tokens) {
    const token = await provider.ClientCredentials.find(each);
    expect(token).toMatchObject({ clientId: "ec", scope: "read" });
    expect(subjects.get(each)).toBe("alice");
  }
});

test("A refresh token that the server rotates is renewed with a signature again and again", async () => {
  const { provider, tokenUrl } = await startProvider();
  const grant = new provider.Grant({ accountId: "alice", clientId: "rsa" });
  grant.addOIDCScope("openid offline_access read");
  const grantId = await grant.save();
  const client = await provider.Client.find("rsa");
  const first = new provider.RefreshToken({
    ...{ accountId: "alice", client, grantId, gty: "authorization_code", scope: "openid offline_access read" },
  } as never);
  const vendor = await startUpstream();
  const auth = {
    ...({ type: "oauth2", grant: "refresh_token", clientAuth: "private_key_jwt", keyFile: "rsa.pem" } as const),
    ...({ tokenUrl, clientId: "rsa", algorithm: "PS256", refreshTokenFile: "refresh" } as const),
  };
  const refreshToken = await first.save();
  const gateway = await startGateway({
    env,
    services: { api: { baseUrl: vendor.url, auth } },
    files: { ...files, refresh: refreshToken },
  });
  for (let at = 0; at < 3; at++) {
    expect((await ask(gateway, "api")).status).toBe(200);
    const sent = vendor.requests.at(-1)?.headers.authorization ?? "";
    const token = await provider.AccessToken.find(sent.replace("Bearer ", ""));
    expect(token).toMatchObject({ accountId: "alice", clientId: "rsa" });
    expect((await refresh(gateway, "api")).status).toBe(204);
  }
  const used = await provider.RefreshToken.find(refreshToken, { ignoreExpiration: true });
  expect(used?.consumed).toBeTruthy();
});
