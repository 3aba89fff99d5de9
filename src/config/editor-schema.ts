/** The schema of the services file as editors want it: shipped beside the example, and written by `byteproxy init`. */
import { servicesFileJsonSchema } from "./allowed-values.ts";

/** `baseUrl` may be left out, as it is where an entry changes a built-in service. */
export function servicesFileEditorSchema(): string {
  const adapt = (name: string, value: unknown) => {
    if (name === "allowed") return undefined;
    if (name !== "required" || !Array.isArray(value)) return value;
    const required = value.filter((member) => member !== "baseUrl");
    return required.length > 0 ? required : undefined;
  };
  return `${JSON.stringify(servicesFileJsonSchema(), adapt, 2)}\n`;
}
