/** The command line of `npm run bench`. */
import { parseArgs } from "node:util";

/** All contestants, in the order of the table. */
export const CONTESTANTS = [
  "gateway",
  "undici",
  "http-proxy-3",
  "fastify-http-proxy",
  "http-proxy-middleware",
] as const;
export type ContestantName = (typeof CONTESTANTS)[number];

export interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly only: readonly ContestantName[];
  readonly extras: boolean;
  /** False for `--quick`, `--only` and `--skip-extras`: such results are not committed. */
  readonly complete: boolean;
}

export const USAGE = `npm run bench -- [--rounds 9] [--seconds 2] [--quick] [--only ${CONTESTANTS.slice(0, 2).join(",")}] [--skip-extras]`;

/** @throws an Error with a message for the user. */
export function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: "string" },
      seconds: { type: "string" },
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      "skip-extras": { type: "boolean", default: false },
    },
  });
  const { quick, only } = values;
  const extras = !values["skip-extras"];
  return {
    rounds: positive("--rounds", values.rounds ?? (quick ? "3" : "9")),
    seconds: positive("--seconds", values.seconds ?? (quick ? "1" : "2")),
    warmUpSeconds: quick ? 2 : 4,
    only: only === undefined ? CONTESTANTS : only.split(",").map(contestant),
    extras,
    complete: !quick && only === undefined && extras,
  };
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new Error(`${name} must be a whole number of at least 1, not ${text}`);
  return value;
}

function contestant(text: string): ContestantName {
  const name = CONTESTANTS.find((known) => known === text.trim());
  if (name === undefined) throw new Error(`--only accepts ${CONTESTANTS.join(", ")}, not ${text}`);
  return name;
}
