/**
 * The rotations of all services.
 * Invariant: a reload keeps the rotation of a service whose two secrets stay the same, and ends it for any others.
 */
import { StagedRotation, type StagedRotationOptions } from "./staged-rotation.ts";

export interface StagedRotations {
  /** To be released once. */
  acquire(service: string, pair: StagedRotationOptions["pair"]): { readonly rotation: StagedRotation; release(): void };
  /** Whether a rotation of the service has changed it to this secret. */
  isPromoted(service: string, to: string): boolean;
  /** Ends them without a report. */
  close(): void;
}

export function createStagedRotations({
  promotions,
  onEnd,
}: Pick<StagedRotationOptions, "promotions" | "onEnd">): StagedRotations {
  const byService = new Map<string, { readonly rotation: StagedRotation; readonly id: string; users: number }>();

  return {
    acquire(service, pair) {
      const id = JSON.stringify([pair.from, pair.to]);
      const old = byService.get(service);
      if (old !== undefined && old.id !== id) old.rotation.close("the secrets were changed meanwhile");
      const entry =
        old?.id === id ? old : { rotation: new StagedRotation({ service, pair, promotions, onEnd }), id, users: 0 };
      entry.users++;
      byService.set(service, entry);
      return {
        rotation: entry.rotation,
        release() {
          entry.users--;
          if (entry.users > 0) return;
          entry.rotation.close("the service, or one of the secrets, was removed meanwhile");
          if (byService.get(service) === entry) byService.delete(service);
        },
      };
    },
    isPromoted: (service, to) => promotions.entries.get(service)?.value.to === to,
    close() {
      for (const { rotation } of byService.values()) rotation.abandon();
    },
  };
}
