/** How a client authenticates at a token endpoint (RFC 6749 section 2.3, RFC 7523 section 2.2). */
import type { ClientAuth } from "oauth4webapi";
import type { AssertionSettings } from "../../config/assertion-settings.ts";
import type { AuthDefinition } from "../../config/auth-schema.ts";
import { clientAuthOf } from "../../config/oauth2-schema.ts";
import { freshClaims, signAssertion } from "./sign-assertion.ts";

interface ClientSecrets {
  /** Empty for a client without one. */
  readonly secret: string;
  /** Defined where the gateway signs. */
  readonly assertions: AssertionSettings | undefined;
}

/** @param onAssertion called with each assertion before it is sent. */
export function clientAuthentication(
  auth: AuthDefinition,
  { secret, assertions }: ClientSecrets,
  onAssertion: (assertion: string) => void,
): ClientAuth {
  switch (clientAuthOf(auth)) {
    case "basic":
      return basicAuth(secret);
    case "post":
      return (_server, { client_id }, body) => {
        body.set("client_id", client_id);
        body.set("client_secret", secret);
      };
    case "private_key_jwt":
      return async (server, { client_id }, body) => {
        if (assertions === undefined) return;
        const { signingKey, clientIssuer = client_id, audience = server.issuer } = assertions;
        const claims = { iss: clientIssuer, sub: client_id, aud: audience, ...freshClaims() };
        const assertion = await signAssertion(signingKey, claims);
        onAssertion(assertion);
        body.set("client_id", client_id);
        body.set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        body.set("client_assertion", assertion);
      };
    case "none":
      return (_server, { client_id }, body) => {
        if (client_id !== NO_CLIENT) body.set("client_id", client_id);
      };
  }
}

/** The library wants a client also where an assertion is enough. No configured identifier has a control character. */
export const NO_CLIENT = "\0";

/** RFC 6749 section 2.3.1. The library's own also encodes `-`, `.` and `_`, which servers that decode nothing do not understand. */
function basicAuth(secret: string): ClientAuth {
  const encoded = (text: string) => new URLSearchParams([["", text]]).toString().slice(1);
  return (_server, { client_id }, _body, headers) => {
    const pair = `${encoded(client_id)}:${encoded(secret)}`;
    headers.set("authorization", `Basic ${Buffer.from(pair, "latin1").toString("base64")}`);
  };
}
