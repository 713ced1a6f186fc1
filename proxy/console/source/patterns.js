// Patterns as they are typed: separated by commas or lines.

export const patternsOf = (text) =>
  text
    .split(/[,\n]/)
    .map((pattern) => pattern.trim())
    .filter(Boolean);
