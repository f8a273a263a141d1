"use strict"
// The page works without this. With it, messages come, fade and go by themselves, and one that is sent twice is kept once.
const list = document.getElementById("messages"), note = document.getElementById("note"), form = document.querySelector("form")
const faintest = 0.45 // what is nearly gone can still be read
const items = new Map()
let sending = null // the message that was sent and not acknowledged: sent again it has the same id, and why it was not is left to be read

function show(item) {
  const left = Math.max(0, (item.gone - Date.now()) / 1000)
  if (!left) { item.node.remove(); items.delete(item.id); return }
  item.node.querySelector("p").style.setProperty("--there", faintest + (1 - faintest) * left / item.ttl)
  item.node.querySelector(".left").textContent = `${Math.ceil(left)} s left`
  item.node.querySelector("progress").value = left
}

function keep(id, ttl, left, node) {
  items.set(id, { id, ttl, node, gone: Date.now() + left * 1000 })
  show(items.get(id))
}

function made({ text, author, ttl, left }) {
  const node = document.createElement("li"), words = document.createElement("p"), small = document.createElement("small")
  const rest = document.createElement("span"), bar = document.createElement("progress")
  words.textContent = text
  rest.className = "left"
  small.append(`${author || "somebody"}, `, rest)
  bar.max = ttl
  bar.setAttribute("aria-label", "time left")
  node.append(words, small, bar)
  return node
}

async function look() {
  try {
    const answer = await fetch("/api/messages"), found = await answer.json()
    if (!sending) note.textContent = !answer.ok ? found.error : found.complete ? "" : "Some nodes do not answer: messages may be missing."
    for (const each of (found.messages || []).reverse()) {
      if (items.has(each.id)) continue
      const node = made(each)
      list.prepend(node)
      keep(each.id, each.ttl, each.left, node)
    }
  } catch { if (!sending) note.textContent = "The server does not answer. It is asked again." }
}

form.addEventListener("submit", async event => {
  event.preventDefault()
  const given = Object.fromEntries(new FormData(form))
  const same = sending && sending.text === given.text && sending.author === given.author && String(sending.ttl) === given.ttl
  if (!same) {
    const id = Array.from(crypto.getRandomValues(new Uint8Array(12)), each => each.toString(16).padStart(2, "0")).join("")
    sending = { ...given, ttl: Number(given.ttl), id }
  }
  try {
    const answer = await fetch("/api/messages", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(sending) })
    const found = await answer.json()
    if (!answer.ok) { note.textContent = found.error; return }
    sending = null
    form.elements.text.value = ""
    await look()
  } catch { note.textContent = "The server does not answer. Send it again: it is not kept twice." }
})

for (const node of list.children) keep(node.dataset.id, Number(node.dataset.ttl), Number(node.dataset.left), node)
setInterval(() => items.forEach(show), 1000)
setInterval(look, 2000)
