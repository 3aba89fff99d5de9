/** Whether a service can put a credential on its requests: one word for start-up, lists and status. */
import type { Service } from "./schema.ts";

export type CredentialState = "none" | "present" | "missing";

export function credentialState(service: Pick<Service, "auth" | "credential">): CredentialState {
  if (service.auth === undefined) return "none";
  return service.credential?.secret === undefined ? "missing" : "present";
}
