/**
 * Checks UPDATE_CHECK_URL for a newer version: only on request, and at most once an hour.
 * Invariant: the check never throws, and no proxied request waits for it.
 */
import type { Settings } from "./config/settings.ts";
import { isObject } from "./is-object.ts";

export interface UpdateStatus {
  readonly current: string;
  /** Null while unknown. */
  readonly latest: string | null;
  readonly updateAvailable: boolean | null;
  /** RFC 3339; null if there was no check. */
  readonly checkedAt: string | null;
  /** Why the latest version is unknown. */
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
  let latestCheck: Promise<UpdateStatus> | undefined;
  let staleAt = 0;

  async function ask(from: string): Promise<UpdateStatus> {
    const checkedAt = new Date(now()).toISOString();
    try {
      const latest = versionIn(await fetchJson(from));
      if (latest === undefined) throw new Error("the response contains no version");
      staleAt = now() + KNOWN_FOR_MS;
      return { current, latest, updateAvailable: isNewer(latest, current), checkedAt };
    } catch (error) {
      staleAt = now() + TRY_AGAIN_AFTER_MS;
      return { ...unknown(`the check failed: ${(error as Error).message}`), checkedAt };
    }
  }
  const unknown = (reason: string): UpdateStatus => ({
    current,
    latest: null,
    updateAvailable: null,
    checkedAt: null,
    reason,
  });

  return async function checkForUpdate(): Promise<UpdateStatus> {
    if (SKIP_UPDATE_CHECK) return unknown("SKIP_UPDATE_CHECK is set");
    if (url === undefined) return unknown("UPDATE_CHECK_URL is not set");
    if (latestCheck === undefined || now() >= staleAt) {
      staleAt = Number.POSITIVE_INFINITY;
      latestCheck = ask(url);
    }
    return latestCheck;
  };
}

/** From `version`, as package registries have it, or `tag_name`, as release feeds have it. */
function versionIn(body: unknown): string | undefined {
  if (!isObject(body)) return undefined;
  const { version, tag_name } = body;
  const found = /^v?(\d{1,9}\.\d{1,9}\.\d{1,9}(?:-[0-9A-Za-z.-]{1,64})?)$/.exec(String(version ?? tag_name));
  return found?.[1];
}

/** By the precedence of semver. If only the pre-release differs, the version without one is newer. */
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
