/* languages.c - a row a language: BCP-47 tag, English name, usual script, direction, resource level.
 *
 * The level follows the classes of Joshi et al. (2020), "The State and Fate of Linguistic Diversity and Inclusion in
 * the NLP World": high for classes 5 and 4, medium for 3, low for 2 and below. It says how much text and annotation
 * there is, and nothing of speakers. Rows are sorted by tag in ASCII order; a search relies on that. */
#include "corpus/corpus.h"
#include <string.h>

static const qd_language LANGUAGES[] = {
    {"af", "Afrikaans", "Latn", false, QD_RESOURCE_MEDIUM},
    {"ak", "Akan", "Latn", false, QD_RESOURCE_LOW},
    {"am", "Amharic", "Ethi", false, QD_RESOURCE_LOW},
    {"an", "Aragonese", "Latn", false, QD_RESOURCE_LOW},
    {"ar", "Arabic", "Arab", true, QD_RESOURCE_HIGH},
    {"ary", "Moroccan Arabic", "Arab", true, QD_RESOURCE_LOW},
    {"arz", "Egyptian Arabic", "Arab", true, QD_RESOURCE_MEDIUM},
    {"as", "Assamese", "Beng", false, QD_RESOURCE_LOW},
    {"ast", "Asturian", "Latn", false, QD_RESOURCE_LOW},
    {"ay", "Aymara", "Latn", false, QD_RESOURCE_LOW},
    {"az", "Azerbaijani", "Latn", false, QD_RESOURCE_LOW},
    {"ba", "Bashkir", "Cyrl", false, QD_RESOURCE_LOW},
    {"ban", "Balinese", "Latn", false, QD_RESOURCE_LOW},
    {"be", "Belarusian", "Cyrl", false, QD_RESOURCE_MEDIUM},
    {"bg", "Bulgarian", "Cyrl", false, QD_RESOURCE_MEDIUM},
    {"bho", "Bhojpuri", "Deva", false, QD_RESOURCE_LOW},
    {"bm", "Bambara", "Latn", false, QD_RESOURCE_LOW},
    {"bn", "Bengali", "Beng", false, QD_RESOURCE_MEDIUM},
    {"bo", "Tibetan", "Tibt", false, QD_RESOURCE_LOW},
    {"br", "Breton", "Latn", false, QD_RESOURCE_LOW},
    {"bs", "Bosnian", "Latn", false, QD_RESOURCE_MEDIUM},
    {"ca", "Catalan", "Latn", false, QD_RESOURCE_HIGH},
    {"ceb", "Cebuano", "Latn", false, QD_RESOURCE_MEDIUM},
    {"chr", "Cherokee", "Cher", false, QD_RESOURCE_LOW},
    {"ckb", "Central Kurdish", "Arab", true, QD_RESOURCE_LOW},
    {"co", "Corsican", "Latn", false, QD_RESOURCE_LOW},
    {"cs", "Czech", "Latn", false, QD_RESOURCE_HIGH},
    {"cv", "Chuvash", "Cyrl", false, QD_RESOURCE_LOW},
    {"cy", "Welsh", "Latn", false, QD_RESOURCE_LOW},
    {"da", "Danish", "Latn", false, QD_RESOURCE_MEDIUM},
    {"de", "German", "Latn", false, QD_RESOURCE_HIGH},
    {"dv", "Divehi", "Thaa", true, QD_RESOURCE_LOW},
    {"dz", "Dzongkha", "Tibt", false, QD_RESOURCE_LOW},
    {"ee", "Ewe", "Latn", false, QD_RESOURCE_LOW},
    {"el", "Greek", "Grek", false, QD_RESOURCE_MEDIUM},
    {"en", "English", "Latn", false, QD_RESOURCE_HIGH},
    {"eo", "Esperanto", "Latn", false, QD_RESOURCE_LOW},
    {"es", "Spanish", "Latn", false, QD_RESOURCE_HIGH},
    {"et", "Estonian", "Latn", false, QD_RESOURCE_MEDIUM},
    {"eu", "Basque", "Latn", false, QD_RESOURCE_HIGH},
    {"fa", "Persian", "Arab", true, QD_RESOURCE_HIGH},
    {"ff", "Fulah", "Latn", false, QD_RESOURCE_LOW},
    {"fi", "Finnish", "Latn", false, QD_RESOURCE_HIGH},
    {"fj", "Fijian", "Latn", false, QD_RESOURCE_LOW},
    {"fo", "Faroese", "Latn", false, QD_RESOURCE_LOW},
    {"fon", "Fon", "Latn", false, QD_RESOURCE_LOW},
    {"fr", "French", "Latn", false, QD_RESOURCE_HIGH},
    {"fy", "Western Frisian", "Latn", false, QD_RESOURCE_LOW},
    {"ga", "Irish", "Latn", false, QD_RESOURCE_LOW},
    {"gd", "Scottish Gaelic", "Latn", false, QD_RESOURCE_LOW},
    {"gl", "Galician", "Latn", false, QD_RESOURCE_MEDIUM},
    {"gn", "Guarani", "Latn", false, QD_RESOURCE_LOW},
    {"gu", "Gujarati", "Gujr", false, QD_RESOURCE_LOW},
    {"ha", "Hausa", "Latn", false, QD_RESOURCE_LOW},
    {"haw", "Hawaiian", "Latn", false, QD_RESOURCE_LOW},
    {"he", "Hebrew", "Hebr", true, QD_RESOURCE_MEDIUM},
    {"hi", "Hindi", "Deva", false, QD_RESOURCE_HIGH},
    {"hr", "Croatian", "Latn", false, QD_RESOURCE_HIGH},
    {"hsb", "Upper Sorbian", "Latn", false, QD_RESOURCE_LOW},
    {"ht", "Haitian Creole", "Latn", false, QD_RESOURCE_LOW},
    {"hu", "Hungarian", "Latn", false, QD_RESOURCE_HIGH},
    {"hy", "Armenian", "Armn", false, QD_RESOURCE_LOW},
    {"ia", "Interlingua", "Latn", false, QD_RESOURCE_LOW},
    {"id", "Indonesian", "Latn", false, QD_RESOURCE_MEDIUM},
    {"ig", "Igbo", "Latn", false, QD_RESOURCE_LOW},
    {"ilo", "Iloko", "Latn", false, QD_RESOURCE_LOW},
    {"is", "Icelandic", "Latn", false, QD_RESOURCE_LOW},
    {"it", "Italian", "Latn", false, QD_RESOURCE_HIGH},
    {"iu", "Inuktitut", "Cans", false, QD_RESOURCE_LOW},
    {"ja", "Japanese", "Jpan", false, QD_RESOURCE_HIGH},
    {"jv", "Javanese", "Latn", false, QD_RESOURCE_LOW},
    {"ka", "Georgian", "Geor", false, QD_RESOURCE_MEDIUM},
    {"kab", "Kabyle", "Latn", false, QD_RESOURCE_LOW},
    {"ki", "Kikuyu", "Latn", false, QD_RESOURCE_LOW},
    {"kk", "Kazakh", "Cyrl", false, QD_RESOURCE_MEDIUM},
    {"kl", "Greenlandic", "Latn", false, QD_RESOURCE_LOW},
    {"km", "Khmer", "Khmr", false, QD_RESOURCE_LOW},
    {"kn", "Kannada", "Knda", false, QD_RESOURCE_LOW},
    {"ko", "Korean", "Kore", false, QD_RESOURCE_HIGH},
    {"kok", "Konkani", "Deva", false, QD_RESOURCE_LOW},
    {"ku", "Kurdish", "Latn", false, QD_RESOURCE_LOW},
    {"ky", "Kyrgyz", "Cyrl", false, QD_RESOURCE_LOW},
    {"la", "Latin", "Latn", false, QD_RESOURCE_MEDIUM},
    {"lb", "Luxembourgish", "Latn", false, QD_RESOURCE_LOW},
    {"lg", "Ganda", "Latn", false, QD_RESOURCE_LOW},
    {"ln", "Lingala", "Latn", false, QD_RESOURCE_LOW},
    {"lo", "Lao", "Laoo", false, QD_RESOURCE_LOW},
    {"lt", "Lithuanian", "Latn", false, QD_RESOURCE_MEDIUM},
    {"lv", "Latvian", "Latn", false, QD_RESOURCE_MEDIUM},
    {"mai", "Maithili", "Deva", false, QD_RESOURCE_LOW},
    {"mg", "Malagasy", "Latn", false, QD_RESOURCE_LOW},
    {"mi", "Maori", "Latn", false, QD_RESOURCE_LOW},
    {"min", "Minangkabau", "Latn", false, QD_RESOURCE_LOW},
    {"mk", "Macedonian", "Cyrl", false, QD_RESOURCE_LOW},
    {"ml", "Malayalam", "Mlym", false, QD_RESOURCE_LOW},
    {"mn", "Mongolian", "Cyrl", false, QD_RESOURCE_LOW},
    {"mni", "Manipuri", "Beng", false, QD_RESOURCE_LOW},
    {"mr", "Marathi", "Deva", false, QD_RESOURCE_LOW},
    {"ms", "Malay", "Latn", false, QD_RESOURCE_MEDIUM},
    {"mt", "Maltese", "Latn", false, QD_RESOURCE_LOW},
    {"my", "Burmese", "Mymr", false, QD_RESOURCE_LOW},
    {"nb", "Norwegian Bokmal", "Latn", false, QD_RESOURCE_MEDIUM},
    {"ne", "Nepali", "Deva", false, QD_RESOURCE_LOW},
    {"nl", "Dutch", "Latn", false, QD_RESOURCE_HIGH},
    {"nn", "Norwegian Nynorsk", "Latn", false, QD_RESOURCE_LOW},
    {"no", "Norwegian", "Latn", false, QD_RESOURCE_MEDIUM},
    {"nqo", "N'Ko", "Nkoo", true, QD_RESOURCE_LOW},
    {"nso", "Northern Sotho", "Latn", false, QD_RESOURCE_LOW},
    {"nv", "Navajo", "Latn", false, QD_RESOURCE_LOW},
    {"ny", "Nyanja", "Latn", false, QD_RESOURCE_LOW},
    {"oc", "Occitan", "Latn", false, QD_RESOURCE_LOW},
    {"om", "Oromo", "Latn", false, QD_RESOURCE_LOW},
    {"or", "Odia", "Orya", false, QD_RESOURCE_LOW},
    {"pa", "Punjabi", "Guru", false, QD_RESOURCE_LOW},
    {"pl", "Polish", "Latn", false, QD_RESOURCE_HIGH},
    {"ps", "Pashto", "Arab", true, QD_RESOURCE_LOW},
    {"pt", "Portuguese", "Latn", false, QD_RESOURCE_HIGH},
    {"qu", "Quechua", "Latn", false, QD_RESOURCE_LOW},
    {"rn", "Rundi", "Latn", false, QD_RESOURCE_LOW},
    {"ro", "Romanian", "Latn", false, QD_RESOURCE_MEDIUM},
    {"ru", "Russian", "Cyrl", false, QD_RESOURCE_HIGH},
    {"rw", "Kinyarwanda", "Latn", false, QD_RESOURCE_LOW},
    {"sa", "Sanskrit", "Deva", false, QD_RESOURCE_LOW},
    {"sat", "Santali", "Olck", false, QD_RESOURCE_LOW},
    {"sc", "Sardinian", "Latn", false, QD_RESOURCE_LOW},
    {"sd", "Sindhi", "Arab", true, QD_RESOURCE_LOW},
    {"si", "Sinhala", "Sinh", false, QD_RESOURCE_LOW},
    {"sk", "Slovak", "Latn", false, QD_RESOURCE_MEDIUM},
    {"sl", "Slovenian", "Latn", false, QD_RESOURCE_MEDIUM},
    {"sm", "Samoan", "Latn", false, QD_RESOURCE_LOW},
    {"sn", "Shona", "Latn", false, QD_RESOURCE_LOW},
    {"so", "Somali", "Latn", false, QD_RESOURCE_LOW},
    {"sq", "Albanian", "Latn", false, QD_RESOURCE_LOW},
    {"sr", "Serbian", "Cyrl", false, QD_RESOURCE_HIGH},
    {"sr-Latn", "Serbian (Latin)", "Latn", false, QD_RESOURCE_HIGH},
    {"ss", "Swati", "Latn", false, QD_RESOURCE_LOW},
    {"st", "Southern Sotho", "Latn", false, QD_RESOURCE_LOW},
    {"su", "Sundanese", "Latn", false, QD_RESOURCE_LOW},
    {"sv", "Swedish", "Latn", false, QD_RESOURCE_HIGH},
    {"sw", "Swahili", "Latn", false, QD_RESOURCE_LOW},
    {"ta", "Tamil", "Taml", false, QD_RESOURCE_MEDIUM},
    {"te", "Telugu", "Telu", false, QD_RESOURCE_LOW},
    {"tg", "Tajik", "Cyrl", false, QD_RESOURCE_LOW},
    {"th", "Thai", "Thai", false, QD_RESOURCE_MEDIUM},
    {"ti", "Tigrinya", "Ethi", false, QD_RESOURCE_LOW},
    {"tk", "Turkmen", "Latn", false, QD_RESOURCE_LOW},
    {"tl", "Tagalog", "Latn", false, QD_RESOURCE_MEDIUM},
    {"tn", "Tswana", "Latn", false, QD_RESOURCE_LOW},
    {"to", "Tongan", "Latn", false, QD_RESOURCE_LOW},
    {"tr", "Turkish", "Latn", false, QD_RESOURCE_HIGH},
    {"ts", "Tsonga", "Latn", false, QD_RESOURCE_LOW},
    {"tt", "Tatar", "Cyrl", false, QD_RESOURCE_LOW},
    {"tum", "Tumbuka", "Latn", false, QD_RESOURCE_LOW},
    {"tw", "Twi", "Latn", false, QD_RESOURCE_LOW},
    {"ug", "Uyghur", "Arab", true, QD_RESOURCE_LOW},
    {"uk", "Ukrainian", "Cyrl", false, QD_RESOURCE_MEDIUM},
    {"ur", "Urdu", "Arab", true, QD_RESOURCE_MEDIUM},
    {"uz", "Uzbek", "Latn", false, QD_RESOURCE_MEDIUM},
    {"ve", "Venda", "Latn", false, QD_RESOURCE_LOW},
    {"vi", "Vietnamese", "Latn", false, QD_RESOURCE_HIGH},
    {"war", "Waray", "Latn", false, QD_RESOURCE_LOW},
    {"wo", "Wolof", "Latn", false, QD_RESOURCE_LOW},
    {"wuu", "Wu Chinese", "Hans", false, QD_RESOURCE_LOW},
    {"xh", "Xhosa", "Latn", false, QD_RESOURCE_LOW},
    {"yi", "Yiddish", "Hebr", true, QD_RESOURCE_LOW},
    {"yo", "Yoruba", "Latn", false, QD_RESOURCE_LOW},
    {"yue", "Cantonese", "Hant", false, QD_RESOURCE_LOW},
    {"zgh", "Moroccan Amazigh", "Tfng", false, QD_RESOURCE_LOW},
    {"zh", "Chinese", "Hans", false, QD_RESOURCE_HIGH},
    {"zh-Hant", "Chinese (Traditional)", "Hant", false, QD_RESOURCE_HIGH},
    {"zu", "Zulu", "Latn", false, QD_RESOURCE_LOW},
};
#define N_LANGUAGES (sizeof LANGUAGES / sizeof LANGUAGES[0])

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t n_letters(const char *s, size_t n) {
    size_t i = 0;
    while (i < n && is_letter(s[i])) i++;
    return i;
}

bool qd_language_is_tag(const char *tag, size_t n) {
    size_t i = n_letters(tag, n);
    if (i < 2 || i > 3) return false;
    if (i < n && tag[i] == '-' && n_letters(tag + i + 1, n - i - 1) == 4) i += 5;
    if (i < n && tag[i] == '-') {
        const char *region = tag + i + 1;
        if (n - i - 1 == 2) return n_letters(region, 2) == 2;
        if (n - i - 1 != 3) return false;
        for (size_t k = 0; k < 3; k++) {
            if (region[k] < '0' || region[k] > '9') return false;
        }
        return true;
    }
    return i == n;
}

/* In the usual case: language lower, script with a capital. */
static const qd_language *find(const char *tag, size_t n_language, size_t n) {
    char key[16];
    size_t low = 0, high = N_LANGUAGES;
    for (size_t i = 0; i < n; i++) {
        bool upper = tag[i] >= 'A' && tag[i] <= 'Z';
        key[i] = upper ? (char)(tag[i] - 'A' + 'a') : tag[i];
        if (i == n_language + 1 && is_letter(key[i])) key[i] = (char)(key[i] - 'a' + 'A');
    }
    key[n] = 0;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(key, LANGUAGES[mid].tag);
        if (order == 0) return &LANGUAGES[mid];
        if (order < 0) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return NULL;
}

const qd_language *qd_language_find(const char *tag) {
    size_t n = strlen(tag);
    if (!qd_language_is_tag(tag, n)) return NULL;
    size_t n_language = n_letters(tag, n);
    bool has_script = n >= n_language + 5 && n_letters(tag + n_language + 1, n - n_language - 1) == 4;
    const qd_language *row = has_script ? find(tag, n_language, n_language + 5) : NULL;
    return row ? row : find(tag, n_language, n_language);
}

size_t qd_language_count(void) {
    return N_LANGUAGES;
}

const qd_language *qd_language_at(size_t i) {
    return i < N_LANGUAGES ? &LANGUAGES[i] : NULL;
}

const char *qd_resource_name(qd_resource resource) {
    static const char *const NAMES[] = {"low", "medium", "high"};
    return NAMES[resource];
}
