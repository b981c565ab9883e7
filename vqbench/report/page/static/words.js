/**
 * The fewest edits that make a hypothesis of a reference, in order: `[kind, wanted word, heard word]` each.
 *
 * Of several ways it is the one that rapidfuzz goes, and jiwer by it, so that all tell the same words to be wrong:
 * equal beginnings and ends stay, and going back from the end, what may be missing is, then what may be too many.
 */
function alignWords(reference, hypothesis) {
  const [wanted, heard] = [reference, hypothesis].map((text) => text.split(/\s+/).filter(Boolean));
  const shorter = Math.min(wanted.length, heard.length);
  let start = 0;
  while (start < shorter && wanted[start] === heard[start]) start += 1;
  let end = 0;
  while (end < shorter - start && wanted.at(-1 - end) === heard.at(-1 - end)) end += 1;
  const same = (words) => words.map((word) => ["same", word, word]);
  const middle = [wanted, heard].map((words) => words.slice(start, words.length - end));
  return [...same(wanted.slice(0, start)), ...editsOf(...middle), ...same(wanted.slice(wanted.length - end))];
}

function editsOf(wanted, heard) {
  const width = heard.length + 1;
  const costs = editCosts(wanted, heard);
  const edits = [];
  let [row, column] = [wanted.length, heard.length];
  while (row || column) {
    const at = row * width + column;
    if (row && costs[at] === costs[at - width] + 1) {
      row -= 1;
      edits.push(["missing", wanted[row], ""]);
    } else if (!row || (column > 1 && costs[at - 1] < costs[at - width - 1])) {
      column -= 1;
      edits.push(["extra", "", heard[column]]);
    } else {
      [row, column] = [row - 1, column - 1];
      edits.push([wanted[row] === heard[column] ? "same" : "wrong", wanted[row], heard[column]]);
    }
  }
  return edits.reverse();
}

/** Levenshtein's table: row by row, the edits between the first words of both. */
function editCosts(wanted, heard) {
  const width = heard.length + 1;
  const costs = new Uint32Array((wanted.length + 1) * width);
  for (let row = 0; row <= wanted.length; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const at = row * width + column;
      if (!row || !column) {
        costs[at] = row + column;
        continue;
      }
      const instead = costs[at - width - 1] + (wanted[row - 1] === heard[column - 1] ? 0 : 1);
      costs[at] = Math.min(instead, costs[at - width] + 1, costs[at - 1] + 1);
    }
  }
  return costs;
}

/** How many words a reference has, and how many are wrong, missing and too many; `total` is the errors of a WER. */
function errorsIn(reference, hypothesis) {
  const counts = { words: 0, wrong: 0, missing: 0, extra: 0, total: 0 };
  for (const [kind, wanted] of alignWords(reference, hypothesis)) {
    if (wanted) counts.words += 1;
    if (kind === "same") continue;
    counts[kind] += 1;
    counts.total += 1;
  }
  return counts;
}

/** The hypothesis: wrong words and words too many in `<ins class="wrong|extra">`, missing ones in `<del>`. */
function markErrors(reference, hypothesis) {
  const marked = document.createDocumentFragment();
  for (const [kind, wanted, heard] of alignWords(reference, hypothesis)) {
    if (marked.lastChild) marked.append(" ");
    marked.append(markWord(kind, wanted, heard));
  }
  return marked;
}

function markWord(kind, wanted, heard) {
  if (kind === "same") return heard;
  if (kind === "missing") return make("del", { title: "missing" }, hiddenWords("(missing: "), wanted, hiddenWords(")"));
  const title = kind === "extra" ? "too many" : `instead of “${wanted}”`;
  return make("ins", { class: kind, title }, heard, hiddenWords(` (${kind === "extra" ? title : `wrong, ${title}`})`));
}
