/**
 * The contract of every kind of credential: made ready once from the service, put on each request last,
 * after everything of the caller's was stripped, so that no caller can remove or precede it.
 */
import type { Service } from "../../config/schema.ts";
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
  | { readonly place: "missing"; readonly source: string; readonly isRequired: boolean };

const KINDS = { bearer, bot, basic, "api-key": apiKey } as const;

/** Called once a service, not once a request. */
export function prepareCredential(service: Pick<Service, "auth" | "credential">): PreparedCredential {
  const { auth, credential } = service;
  if (auth === undefined) return { place: "none" };
  if (credential?.secret === undefined) {
    return { place: "missing", source: credential?.source ?? "its secret", isRequired: auth.required };
  }
  return KINDS[auth.type](credential.secret.reveal(), auth);
}

/** The refusal of a service whose required credential is missing; undefined when the request may go. */
export function decideCredential(credential: PreparedCredential, serviceKey: string): GatewayError | undefined {
  if (credential.place !== "missing" || !credential.isRequired) return undefined;
  return new GatewayError("UPSTREAM_CREDENTIAL_MISSING", {
    message: `${serviceKey} needs a credential, and ${credential.source} holds none. Nothing was sent.`,
    hint: `Set ${credential.source} and restart, or set auth.required to false for ${serviceKey}.`,
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
