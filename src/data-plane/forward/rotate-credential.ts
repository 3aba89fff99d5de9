/**
 * Begins the rotation of a service's credential: the next secret is probed, and then used for a share of the requests.
 * Invariant: an upstream that refuses the next secret and not the current one ends the rotation before any request has it. An upstream
 * that cannot be probed, or that responds with 401 to both, or is overloaded, says nothing about either.
 */
import { NEXT, type RotationState } from "../../config/rotation-state.ts";
import type { Service } from "../../config/schema.ts";
import { GatewayError } from "../../errors.ts";
import { createFixedProvider, type FixedCredential } from "../credential/credential-provider.ts";
import type { RotationOrder } from "../credential/staged-rotation.ts";
import type { PreparedService } from "../prepared-service.ts";
import { type ProbeOutcome, probe } from "./probe.ts";

export interface BegunRotation {
  readonly rotation: RotationState;
  /** What the upstream said to the next secret. */
  readonly probe: "accepted" | "unknown";
}

/** Of each probe. */
const PROBE_MS = 10_000;

/** @throws GatewayError CREDENTIAL_ROTATION_CONFLICT or NEXT_CREDENTIAL_REFUSED. */
export async function rotateCredential(prepared: PreparedService, order: RotationOrder): Promise<BegunRotation> {
  const { service, credential } = prepared;
  const { staged } = credential;
  if (staged === undefined) throw cannotRotate(service);
  const { rotation, current, next } = staged;
  const { key } = service;
  if (rotation.stage === "probing" || rotation.stage === "sharing") {
    throw conflict(`A rotation of the credential of ${key} is already running.`, "Wait for its end, or cancel it.");
  }
  if (rotation.stage === "promoted") {
    throw conflict(
      `The next secret of ${key} is already used for all requests.`,
      "Move it to the source of the current secret and reload. To return to the current secret, cancel the rotation.",
    );
  }
  const started = rotation.startProbe();
  const ask = (fixed: FixedCredential) => probe({ ...prepared, credential: createFixedProvider(fixed) }, PROBE_MS);
  const outcome = await ask(next);
  const before = outcome.credential === "refused" ? await ask(current) : undefined;
  const status = before?.responseStatus;
  const reason = typeof status === "number" ? rotation.refuse(status, started) : undefined;
  if (reason !== undefined) {
    throw new GatewayError("NEXT_CREDENTIAL_REFUSED", {
      message: `The credential of ${key} was not changed, because ${reason}.`,
    });
  }
  if (!rotation.begin(order, started)) {
    const message = `The rotation of the credential of ${key} was canceled, or its secrets were changed, during the probe.`;
    throw conflict(message, "Start the rotation again.");
  }
  return { rotation: rotation.describe(), probe: verdict(outcome) };
}

/** @throws GatewayError CREDENTIAL_ROTATION_CONFLICT, or the store's failure. */
export async function cancelRotation({ service, credential }: PreparedService): Promise<void> {
  if (await credential.staged?.rotation.cancel()) return;
  throw conflict(`No rotation of the credential of ${service.key} is running.`, "There is nothing to cancel.");
}

function verdict({ credential }: ProbeOutcome): BegunRotation["probe"] {
  return credential === "accepted" ? "accepted" : "unknown";
}

function cannotRotate({ key, credential }: Service): GatewayError {
  const next = credential?.next;
  if (next === undefined) {
    return conflict(
      `The credential of ${key} names no next secret.`,
      "Add nextTokenEnvVar or nextTokenFile to auth and reload. Only the types bearer, bot, basic and api-key have them.",
    );
  }
  if (credential?.withheld !== undefined) return conflict(credential.withheld.message, credential.withheld.hint);
  const missing = [...(credential?.secrets ?? []), next].find(({ secret }) => secret === undefined);
  if (missing !== undefined) {
    const which = missing.name === NEXT ? "next" : "current";
    return conflict(
      `The ${which} secret of ${key} is missing: ${missing.source} is empty or not set.`,
      which === "next"
        ? "Set it and reload."
        : "Without a current secret there is nothing to rotate. Put the secret there and reload.",
    );
  }
  return conflict(
    `The next secret of ${key} is the same as the current one.`,
    "Put another secret into the source of the next one and reload.",
  );
}

function conflict(message: string, hint: string): GatewayError {
  return new GatewayError("CREDENTIAL_ROTATION_CONFLICT", { message, hint });
}
