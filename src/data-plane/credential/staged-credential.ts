/**
 * A credential with a current and a next secret: which of the two a request has follows from the rotation.
 * Invariant: a request that the upstream refuses with one secret while both are in use is repeated with the other one, so that a
 * rotation fails no request that can be sent again.
 */
import type { CredentialSource } from "../../config/credential-source.ts";
import type {
  CredentialPlace,
  CredentialProvider,
  FixedCredential,
  Injection,
  Repetition,
  StagedParts,
} from "./credential-provider.ts";
import type { StagedRotation } from "./staged-rotation.ts";
import type { StagedRotations } from "./staged-rotations.ts";

type StagedSecrets = Pick<StagedParts, "current" | "next">;

export class StagedCredential implements CredentialProvider {
  readonly places: readonly CredentialPlace[];
  readonly missing = undefined;
  readonly staged: StagedParts;
  readonly #current: FixedCredential;
  readonly #next: FixedCredential;
  readonly #source: CredentialSource;
  readonly #rotation: StagedRotation;
  readonly #release: () => void;

  constructor(
    service: { readonly key: string; readonly credential: CredentialSource },
    { current, next }: StagedSecrets,
    rotations: StagedRotations,
  ) {
    const { rotation, release } = rotations.acquire(service.key, { from: current.sourceId, to: next.sourceId });
    this.places = current.places;
    this.#current = current;
    this.#next = next;
    this.#source = service.credential;
    this.#rotation = rotation;
    this.#release = release;
    const settled = { get: () => (rotation.stage === "promoted" ? next : current).injection };
    this.staged = { rotation, current, next, settled };
  }

  /** During the change both spend the quota of the current one: they are of the same account. */
  get sourceId(): string {
    return (this.#rotation.stage === "promoted" ? this.#next : this.#current).sourceId;
  }

  get(): Injection {
    switch (this.#rotation.stage) {
      case "promoted":
        return this.#next.injection;
      case "sharing":
        return (this.#rotation.takesNext() ? this.#next : this.#current).injection;
      default:
        return this.#current.injection;
    }
  }

  renew(refused: Injection, target = ""): Repetition | undefined {
    const rotation = this.#rotation;
    const { stage } = rotation;
    if (refused === this.#next.injection) {
      if (stage === "promoted") return undefined;
      return { injection: this.#current.injection, settle: (status) => rotation.noteNextRefused(status, target) };
    }
    if (stage !== "sharing" && stage !== "promoted") return undefined;
    return { injection: this.#next.injection, settle: (status) => rotation.noteCurrentRefused(status, target) };
  }

  describe(): CredentialSource {
    return { ...this.#source, rotation: this.#rotation.describe() };
  }

  close(): void {
    this.#release();
  }
}
