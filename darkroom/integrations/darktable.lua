--[==[
Enhance the selected RAW photos with darkroom, import the results, grouped with their originals.

Install, once: echo "dofile([[$(darkroom integrations darktable)]])" >> ~/.config/darktable/luarc
Then: lighttable, module "selected images", actions, "enhance with darkroom"; settings are in
preferences, lua options. Needs darktable 4.0 or newer. MIT licence, as the rest of darkroom.
]==]

local dt = require "darktable"
if not dt.gui then return end -- darktable-cli reads luarc too, and has no selection

local MODULE = "darkroom"
local SUFFIX = "-darkroom"
local WINDOWS = dt.configuration.running_os == "windows"
local SEPARATOR = WINDOWS and "\\" or "/"

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- The program beside which this file was installed, or whatever the shell finds.
local function find_program()
  local here = debug.getinfo(1, "S").source:match("^@(.*)[/\\]")
  if not here then return "darkroom" end
  local up = here .. SEPARATOR .. (".." .. SEPARATOR):rep(WINDOWS and 4 or 5)
  local program = up .. (WINDOWS and "Scripts\\darkroom.exe" or "bin/darkroom")
  return exists(program) and program or "darkroom"
end

dt.preferences.register(MODULE, "program", "string", "darkroom: program",
  "the command darkroom, with its folder if the shell does not find it", find_program())
dt.preferences.register(MODULE, "format", "string", "darkroom: file format",
  "dng for a linear DNG that opens bright; tif for 16-bit TIFF", "dng")
dt.preferences.register(MODULE, "options", "string", "darkroom: further options",
  "of darkroom enhance, as --model safelight-large or --ev 0.5", "")

local function setting(name)
  return dt.preferences.read(MODULE, name, "string")
end

local function quote(word)
  if WINDOWS then return '"' .. word:gsub('"', "") .. '"' end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- A name that nothing has yet: what was enhanced before stays.
local function choose_target(image)
  local stem = image.path .. SEPARATOR .. (image.filename:match("^(.+)%.[^.]*$") or image.filename)
  local ending = "." .. setting("format")
  local target, number = stem .. SUFFIX .. ending, 2
  while exists(target) do
    target = stem .. SUFFIX .. "-" .. number .. ending
    number = number + 1
  end
  return target
end

local function read_all(path)
  local file = io.open(path, "r")
  if not file then return "" end
  local text = file:read("a")
  file:close()
  return (text:gsub("%s+$", ""))
end

-- Returns the file, or nil and what went wrong.
local function enhance(image)
  local target = choose_target(image)
  local words = { quote(setting("program")), "enhance",
    quote(image.path .. SEPARATOR .. image.filename), "-o", quote(target), "--quiet" }
  table.insert(words, setting("format") == "dng" and "--dng bright" or "--bits 16")
  table.insert(words, setting("options"))
  local log = os.tmpname()
  local command = table.concat(words, " ") .. " 2> " .. quote(log)
  -- cmd takes the first and the last quote of a line off
  local code = dt.control.execute(WINDOWS and '"' .. command .. '"' or command)
  local said = read_all(log)
  os.remove(log)
  if code == 0 and exists(target) then return target end
  if said == "" then said = "cannot be run; set its place in preferences, lua options" end
  return nil, said:match("[^\n]*$")
end

local COLORS = { "red", "yellow", "green", "blue", "purple" }

local function import_result(target, original)
  local result = dt.database.import(target)
  if not result then return false end
  result:group_with(original.group_leader)
  result.rating = original.rating
  for _, color in ipairs(COLORS) do result[color] = original[color] end
  for _, tag in ipairs(dt.tags.get_tags(original)) do
    if not tag.name:match("^darktable|") then dt.tags.attach(tag, result) end
  end
  return true
end

-- By the name, for darktable knows no better before it has loaded a photo.
local PICTURES = { jpg = true, jpeg = true, png = true, tif = true, tiff = true, webp = true,
  avif = true, heic = true, heif = true, hif = true, jxl = true, jp2 = true, exr = true,
  hdr = true, pfm = true, gif = true, bmp = true }

local function is_raw(image)
  local ending = image.filename:match("%.([^.]*)$")
  return ending ~= nil and not PICTURES[ending:lower()]
end

local function enhance_all(images)
  local raws = {}
  for _, image in ipairs(images) do
    if is_raw(image) then table.insert(raws, image) end
  end
  if #raws == 0 then
    dt.print("darkroom: select at least one RAW photo")
    return
  end
  local cancelled = false
  local job = dt.gui.create_job("darkroom: enhancing " .. #raws .. " photos", true,
    function(this) cancelled = true; this.valid = false end)
  local done = 0
  for number, image in ipairs(raws) do
    if cancelled then break end
    local target, problem = enhance(image)
    if target and import_result(target, image) then
      done = done + 1
    else
      problem = problem or "its result cannot be imported"
      dt.print_error("darkroom: " .. image.filename .. ": " .. problem)
      dt.print("darkroom: " .. image.filename .. ": " .. problem)
    end
    if job.valid then job.percent = number / #raws end
  end
  if job.valid then job.valid = false end
  dt.print("darkroom: " .. done .. " of " .. #raws .. " photos enhanced")
end

dt.gui.libs.image.register_action(MODULE, "enhance with darkroom",
  function(_, images) enhance_all(images) end, "brighten extremely dark RAW photos")
dt.register_event(MODULE, "shortcut",
  function() enhance_all(dt.gui.action_images) end, "enhance with darkroom")

-- For darktable's script manager.
local script = {}
script.metadata = { name = MODULE, purpose = "enhance extremely dark RAW photos with darkroom" }
function script.destroy()
  dt.gui.libs.image.destroy_action(MODULE)
  dt.destroy_event(MODULE, "shortcut")
end
return script
