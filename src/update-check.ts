/**
 * Whether there is a newer version, asked of UPDATE_CHECK_URL: only when somebody wants to know, and at most once an hour.
 * Invariant: never throws, and nothing waits for it that serves.
 */
import type { Settings } from "./config/settings.ts";
import { isObject } from "./is-object.ts";

export interface UpdateStatus {
  readonly current: string;
  /** Null while it is not known. */
  readonly latest: string | null;
  readonly updateAvailable: boolean | null;
  /** RFC 3339; null while nothing was asked. */
  readonly checkedAt: string | null;
  /** Why it is not known. */
  readonly reason?: string;
}

export interface UpdateCheckParts {
  readonly settings: Pick<Settings, "SKIP_UPDATE_CHECK" | "UPDATE_CHECK_URL">;
  readonly current: string;
  /** @throws Error */
  readonly fetchJson: (url: string) => Promise<unknown>;
  /** ms since the epoch. */
  readonly now?: () => number;
}

const KNOWN_FOR_MS = 3_600_000;
const TRY_AGAIN_AFTER_MS = 60_000;

export function createUpdateCheck({ settings, current, fetchJson, now = Date.now }: UpdateCheckParts) {
  const { SKIP_UPDATE_CHECK, UPDATE_CHECK_URL: url } = settings;
  let asked: Promise<UpdateStatus> | undefined;
  let staleAt = 0;

  async function ask(from: string): Promise<UpdateStatus> {
    const checkedAt = new Date(now()).toISOString();
    try {
      const latest = versionIn(await fetchJson(from));
      if (latest === undefined) throw new Error("the answer holds no version");
      staleAt = now() + KNOWN_FOR_MS;
      return { current, latest, updateAvailable: isNewer(latest, current), checkedAt };
    } catch (error) {
      staleAt = now() + TRY_AGAIN_AFTER_MS;
      return { ...unknown(`the check failed: ${(error as Error).message}`), checkedAt };
    }
  }
  const unknown = (reason: string): UpdateStatus => ({
    ...{ current, latest: null, updateAvailable: null, checkedAt: null, reason },
  });

  return async function checkForUpdate(): Promise<UpdateStatus> {
    if (SKIP_UPDATE_CHECK) return unknown("SKIP_UPDATE_CHECK is set");
    if (url === undefined) return unknown("UPDATE_CHECK_URL is not set");
    if (asked === undefined || now() >= staleAt) {
      staleAt = Number.POSITIVE_INFINITY;
      asked = ask(url);
    }
    return asked;
  };
}

/** `version` as package registries say it, or `tag_name` as releases do. */
function versionIn(answer: unknown): string | undefined {
  if (!isObject(answer)) return undefined;
  const { version, tag_name } = answer;
  const found = /^v?(\d{1,9}\.\d{1,9}\.\d{1,9}(?:-[0-9A-Za-z.-]{1,64})?)$/.exec(String(version ?? tag_name));
  return found?.[1];
}

/** By semver's precedence; of two that differ in the pre-release only, the one without it is the newer. */
export function isNewer(latest: string, current: string): boolean {
  const [a, b] = [parse(latest), parse(current)];
  for (const [index, number] of a.numbers.entries()) {
    const other = b.numbers[index] ?? 0;
    if (number !== other) return number > other;
  }
  return a.preRelease === "" && b.preRelease !== "";
}

function parse(text: string) {
  const [numbers = "", ...preRelease] = text.split("-");
  return { numbers: numbers.split(".").map(Number), preRelease: preRelease.join("-") };
}
