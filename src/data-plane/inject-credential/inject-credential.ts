/**
 * The contract of every kind of credential: made ready once from the service, put on each request last,
 * after everything of the caller's was stripped, so that no caller can remove or precede it.
 */
import type { CredentialSource, Service } from "../../config/schema.ts";
import { GatewayError } from "../../errors.ts";
import { apiKey } from "./api-key.ts";
import { basic } from "./basic.ts";
import { bearer } from "./bearer.ts";
import { bot } from "./bot.ts";

/** Where a credential goes. Values are ready for the wire. */
export type Credential =
  | { readonly place: "header"; readonly name: string; readonly value: string }
  | { readonly place: "query"; readonly name: string; readonly value: string };

/** A service without `auth` has `none`; one whose secret is missing says so, and whether that is a refusal. */
export type PreparedCredential =
  | Credential
  | { readonly place: "none" }
  | {
      readonly place: "missing";
      readonly isRequired: boolean;
      /** Complete the refusal. */
      readonly message: string;
      readonly hint: string;
    };

const KINDS = { bearer, bot, basic, "api-key": apiKey } as const;

/** Called once a service, not once a request. */
export function prepareCredential(service: Pick<Service, "auth" | "credential">): PreparedCredential {
  const { auth, credential } = service;
  if (auth === undefined) return { place: "none" };
  if (credential?.secret === undefined) {
    return { place: "missing", isRequired: auth.required, ...missingWords(credential) };
  }
  return KINDS[auth.type](credential.secret.reveal(), auth);
}

function missingWords(credential: CredentialSource | undefined) {
  if (credential?.withheld !== undefined) return credential.withheld;
  // Where files lie is for operators, who see it in /manage.
  if (credential?.path !== undefined) {
    return { message: "its token file holds none.", hint: "Put the secret into the file that `tokenFile` names." };
  }
  const source = credential?.source ?? "its secret";
  return { message: `${source} holds none.`, hint: `Set ${source} and restart, or put it into .env and reload.` };
}

/** The refusal of a service whose required credential is missing; undefined when the request may go. */
export function decideCredential(credential: PreparedCredential, serviceKey: string): GatewayError | undefined {
  if (credential.place !== "missing" || !credential.isRequired) return undefined;
  return new GatewayError("UPSTREAM_CREDENTIAL_MISSING", {
    message: `${serviceKey} needs a credential, and ${credential.message} Nothing was sent.`,
    hint: `${credential.hint} Or set auth.required to false for ${serviceKey}.`,
  });
}

/** Puts the credential on a stripped request; false where there is none. */
export function injectCredential(
  upstreamRequest: { path: string; readonly headers: string[] },
  credential: PreparedCredential,
): boolean {
  if (credential.place === "header") {
    upstreamRequest.headers.push(credential.name, credential.value);
    return true;
  }
  if (credential.place !== "query") return false;
  const separator = upstreamRequest.path.includes("?") ? "&" : "?";
  upstreamRequest.path += `${separator}${credential.name}=${credential.value}`;
  return true;
}
