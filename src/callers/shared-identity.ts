/** Ids that several callers may have, so that one of them must not get what another one asked for. */
import { ANONYMOUS } from "./callers.ts";
import { WITHOUT_SUBJECT } from "./token-key.ts";

export function isSharedIdentity(callerId: string): boolean {
  return callerId === ANONYMOUS.id || callerId === WITHOUT_SUBJECT;
}
