/** Makes text from outside safe for messages and logs: other characters than visible ASCII become `?`, and long text is cut. */
export function printable(text: string): string {
  return text.replace(/[^\x21-\x7e]/g, "?").slice(0, 200);
}
