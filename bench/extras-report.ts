/** The table of the extras as Markdown. */
import { BIG_BODY_BYTES, type BigBody } from "./big-bodies.ts";
import { CHUNKED_BODY_BYTES } from "./chunked-responses.ts";
import type { Extras } from "./extras.ts";
import { markdownTable, spreadText, verdict } from "./markdown-table.ts";

const [KIB, MIB, GIB] = [2 ** 10, 2 ** 20, 2 ** 30];
const GROWTH_GOAL_BYTES = 64 * MIB;

export function extrasReport({ upload, download, chunked, silent, startUpMs }: Extras): string {
  const bigBody = (title: string, { bytesPerSecond, growthBytes }: BigBody) => [
    `${BIG_BODY_BYTES / GIB} GiB ${title}`,
    `${(bytesPerSecond / MIB).toFixed(0)} MiB/s, ${(growthBytes / MIB).toFixed(0)} MiB above idle`,
    `under ${GROWTH_GOAL_BYTES / MIB} MiB: ${verdict(growthBytes < GROWTH_GOAL_BYTES)}`,
  ];
  const rows = [
    bigBody("upload", upload),
    bigBody("download", download),
    ...chunked.map(({ chunkBytes, growthBytes, seconds }) => [
      `${CHUNKED_BODY_BYTES / MIB} MiB in chunks of ${chunkBytes < KIB ? `${chunkBytes} B` : `${chunkBytes / KIB} KiB`}`,
      `${seconds.toFixed(1)} s, ${(growthBytes / MIB).toFixed(0)} MiB above idle`,
      "",
    ]),
    ...silent.map(({ kind, bytesEach, growthBytes, heldMs }) => [
      `${kind.count} ${kind.name}`,
      `${(bytesEach / KIB).toFixed(0)} KiB each, all open after ${heldMs / 1000} s, ${(growthBytes / MIB).toFixed(1)} MiB growth meanwhile`,
      "",
    ]),
    ["start-up to /health", `${spreadText(startUpMs, 0)} ms`, ""],
  ];
  return markdownTable(["ByteProxy alone", "", "goal"], rows);
}
