/** `byteproxy services show` and `update`: one service as it was written, and changes of its members. */
import type { ServiceItem } from "../services/items.ts";
import { CliFailure } from "./cli-failure.ts";
import type { CommonOptions } from "./options.ts";
import { printJson, printLine, printNote, printTable } from "./output.ts";
import { describeCredential, withServiceBackend } from "./service-backend.ts";
import { readConfigurationText } from "./service-config.ts";

/** @throws CliFailure */
export async function showService(key: string, options: CommonOptions): Promise<void> {
  const item = await withServiceBackend(options, (backend) => backend.show(key));
  if (options.json) return printJson(item);
  const { source, credential, outOfUse, config } = item;
  const { withheld, fingerprint } = credential;
  printTable(
    ["KEY", "SOURCE", "CREDENTIAL", "FINGERPRINT"],
    [[key, source, describeCredential(credential), fingerprint ?? "-"]],
  );
  printJson(config);
  if (withheld !== undefined) printNote(`The secret is not used: ${withheld}`);
  if (outOfUse !== undefined) printNote(`${key} is out of use: ${outOfUse.join("; ")}`);
}

export interface UpdateOptions extends CommonOptions {
  /** A merge patch (RFC 7396). */
  readonly config?: string;
  readonly file?: string;
}

/** @throws CliFailure */
export async function updateService(key: string, options: UpdateOptions): Promise<void> {
  const patch = await readConfigurationText(options);
  if (patch === undefined) {
    throw new CliFailure(2, [
      `services update needs --config or --file with the members to change, like --config '{"timeoutMs": 60000}'; null removes a member.`,
    ]);
  }
  const item = await withServiceBackend(options, (backend) => backend.update(key, patch));
  if (options.json) return printJson(item);
  const from = options.offline ? "from the next start on" : "from now on";
  printLine(`${key} is changed ${from}: ${Object.keys(patch).map(showMember(item)).join(", ")}`);
}

/** Header values that may be secret are masked in the item. */
const showMember =
  ({ config }: ServiceItem) =>
  (name: string) => {
    const value = (config as Readonly<Record<string, unknown>>)[name];
    return value === undefined ? `${name} removed` : `${name} ${JSON.stringify(value)}`;
  };
