/**
 * `byteproxy services add <recipe>`: adds the service, and prints what is left to set.
 * Invariant: a running gateway decides which secrets a service over REST may use. The services file may name every secret, so
 * `--offline` writes to it, and to nothing else.
 */
import { addToServicesFile, checkService } from "./add-to-services-file.ts";
import type { ChosenRecipe } from "./choose-recipe.ts";
import { CliFailure } from "./cli-failure.ts";
import type { CommonOptions } from "./options.ts";
import { printJson, printLine } from "./output.ts";
import { describeCredential, withServiceBackend } from "./service-backend.ts";

/** @throws CliFailure */
export async function addFromRecipe(key: string, chosen: ChosenRecipe, options: CommonOptions): Promise<void> {
  if (options.offline) return addToFile(key, chosen, options);
  const item = await withServiceBackend(options, async (backend) => {
    const { services } = chosen.isBuiltIn ? await backend.list() : { services: [] };
    return services.find((service) => service.key === key) ?? backend.add(key, chosen.config);
  }).catch((error: unknown) => {
    throw withFileHint(error, key, chosen);
  });
  if (options.json) return printJson(item);
  const added = item.source === "preset" ? "is built in" : "is served from now on";
  printLine(
    `${key} ${added}: /proxy/${key}/ leads to ${String(item.config.baseUrl)} (credential ${describeCredential(item.credential)})`,
  );
  printNextSteps(key, chosen);
}

async function addToFile(key: string, chosen: ChosenRecipe, { json }: CommonOptions): Promise<void> {
  checkService(key, chosen.config);
  // An entry without a base URL keeps what is built in, also in later versions.
  const path = await addToServicesFile(key, chosen.isBuiltIn ? {} : chosen.config);
  if (json) return printJson({ key, source: "file", config: chosen.config, file: path });
  printLine(`${key} is in ${path}: /proxy/${key}/ leads to ${String(chosen.config.baseUrl)} after a start or reload`);
  printNextSteps(key, chosen);
}

/** A gateway refuses secrets that its operator has not bound, and commands as a source of secrets. */
function withFileHint(error: unknown, key: string, { name }: ChosenRecipe): unknown {
  if (!(error instanceof CliFailure)) return error;
  const { code } = (error.responseBody ?? {}) as { readonly code?: unknown };
  if (code !== "EGRESS_NOT_ALLOWED" && code !== "VALIDATION_ERROR") return error;
  const recipe = name === key ? "" : ` --recipe ${name}`;
  const hint = `The services file may name every secret. To add ${key} there, run this in the folder of the gateway with the same --set options, and reload it: byteproxy services add ${key}${recipe} --offline`;
  return new CliFailure(error.exitCode, [...error.lines, hint], error.responseBody);
}

function printNextSteps(key: string, { recipe }: ChosenRecipe): void {
  const { variables, clients, note, documentation } = recipe;
  for (const [name, meaning] of Object.entries(variables)) printLine(`Set ${name} for the gateway: ${meaning}`);
  for (const { name, settings } of clients) {
    const values = Object.entries(settings).map(([option, value]) => `${option} = ${valueFor(key, value)}`);
    printLine(`Set in ${name}: ${values.join(", ")}`);
  }
  if (note !== undefined) printLine(`Note: ${note.replaceAll("`", "")}`);
  printLine(`The vendor's documentation: ${documentation}`);
}

const valueFor = (key: string, value: string) =>
  value.replaceAll("{url}", `<gateway>/proxy/${key}`).replaceAll("{key}", "<gateway key>");
